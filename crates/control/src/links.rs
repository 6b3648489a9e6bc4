//! The two links of the controller, to the gateway and to the driver host. Each is held open by a task of its
//! own that connects again when it breaks; what was under way then is found out by looking at the world.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bellwether_link::{Client, Events, Hello};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, watch};

/// A link that may be down for a moment.
pub(crate) struct Link<A> {
    current: watch::Receiver<Option<Arc<Client<A>>>>,
}

impl<A> Clone for Link<A> {
    fn clone(&self) -> Self {
        Self { current: self.current.clone() }
    }
}

/// What a link tells the reactor.
pub(crate) enum News<E> {
    /// The link is up, for the first time or again: events may have been missed.
    Up,
    Event(E),
}

const RETRY_FIRST: Duration = Duration::from_millis(20);
/// The other end answers from memory; what takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

impl<A: DeserializeOwned + Send + Sync + 'static> Link<A> {
    /// Runs until the reactor is gone.
    pub(crate) fn open<E: DeserializeOwned + Send + 'static>(
        tasks: &mut tokio::task::JoinSet<()>,
        path: PathBuf,
        protocol: (&'static str, u32),
        news: mpsc::Sender<News<E>>,
    ) -> Self {
        let (connected, current) = watch::channel(None);
        tasks.spawn(hold_open(path, Hello::new(protocol.0, protocol.1), connected, news));
        Self { current }
    }

    /// Waits for the link to be up, then asks. An error says nothing about whether the request was carried out.
    pub(crate) async fn ask(&self, request: &impl Serialize) -> Result<A, bellwether_link::Error> {
        let mut current = self.current.clone();
        let client = match current.wait_for(Option::is_some).await {
            Ok(client) => client.clone(),
            Err(_closed) => None,
        };
        client.ok_or(bellwether_link::Error::Closed)?.ask(request).await
    }

    /// Asks over the link as it is now: an error if it is down or the other end does not answer in time.
    pub(crate) async fn ask_now(&self, request: &impl Serialize) -> Result<A, bellwether_link::Error> {
        let asked = async { self.send(request).await?.wait().await };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(bellwether_link::Error::Closed))
    }

    /// Sends over the link as it is now: requests arrive in the order of the calls.
    pub(crate) async fn send(
        &self,
        request: &impl Serialize,
    ) -> Result<bellwether_link::Answer<A>, bellwether_link::Error> {
        let client = self.current.borrow().clone();
        client.ok_or(bellwether_link::Error::Closed)?.send(request).await
    }
}

async fn hold_open<A, E>(
    path: PathBuf,
    hello: Hello,
    connected: watch::Sender<Option<Arc<Client<A>>>>,
    news: mpsc::Sender<News<E>>,
) where
    A: DeserializeOwned + Send + Sync + 'static,
    E: DeserializeOwned + Send + 'static,
{
    let mut retry = RETRY_FIRST;
    loop {
        match Client::connect::<E>(&path, hello.clone()).await {
            Ok((client, events)) => {
                retry = RETRY_FIRST;
                connected.send_replace(Some(Arc::new(client)));
                if news.send(News::Up).await.is_err() || forward(events, &news).await.is_err() {
                    return;
                }
                connected.send_replace(None);
                tracing::warn!(path = %path.display(), "link lost; connecting again");
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "link not up");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

async fn forward<E>(
    mut events: Events<E>,
    news: &mpsc::Sender<News<E>>,
) -> Result<(), mpsc::error::SendError<News<E>>> {
    while let Some(event) = events.recv().await {
        news.send(News::Event(event)).await?;
    }
    Ok(())
}
