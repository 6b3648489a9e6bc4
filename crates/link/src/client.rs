//! The asking side.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::BufReader,
    net::{UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    task::JoinHandle,
};

use crate::frame::{Asked, Error, Hello, Told, read_line, write_line};

/// What the server pushes, in order. Ends when the link ends.
pub type Events<E> = mpsc::UnboundedReceiver<E>;

type Waiting<A> = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<A>>>>>;

/// One connection. Dropping it closes the link.
pub struct Client<A> {
    writer: AsyncMutex<OwnedWriteHalf>,
    waiting: Waiting<A>,
    next: AtomicU64,
    reader: JoinHandle<()>,
}

impl<A: DeserializeOwned + Send + 'static> Client<A> {
    pub async fn connect<E: DeserializeOwned + Send + 'static>(
        path: &Path,
        hello: Hello,
    ) -> Result<(Self, Events<E>), Error> {
        let (read, mut write) = UnixStream::connect(path).await?.into_split();
        let mut read = BufReader::new(read);
        write_line(&mut write, &hello).await?;
        let theirs = read_line(&mut read, &mut Vec::new()).await?.ok_or(Error::Closed)?;
        hello.meets(theirs)?;
        let waiting = Waiting::<A>::new(Mutex::new(Some(HashMap::new())));
        let (events, received) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_on(read, waiting.clone(), events));
        Ok((Self { writer: AsyncMutex::new(write), waiting, next: AtomicU64::new(1), reader }, received))
    }

    /// Asks and waits for the answer. `Closed` says nothing about whether the request was carried out.
    pub async fn ask(&self, ask: &impl Serialize) -> Result<A, Error> {
        self.send(ask).await?.wait().await
    }

    /// Asks; the answer can be awaited later. Requests reach the server in the order in which they were sent.
    pub async fn send(&self, ask: &impl Serialize) -> Result<Answer<A>, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        match &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(waiting) => waiting.insert(id, tell),
            None => return Err(Error::Closed),
        };
        write_line(&mut *self.writer.lock().await, &Asked { id, ask }).await?;
        Ok(Answer(told))
    }
}

/// An answer that is on its way.
pub struct Answer<A>(oneshot::Receiver<A>);

impl<A> Answer<A> {
    pub async fn wait(self) -> Result<A, Error> {
        self.0.await.map_err(|_gone| Error::Closed)
    }
}

impl<A> Drop for Client<A> {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read_on<A: DeserializeOwned, E: DeserializeOwned>(
    mut read: BufReader<OwnedReadHalf>,
    waiting: Waiting<A>,
    events: mpsc::UnboundedSender<E>,
) {
    let mut line = Vec::new();
    loop {
        match read_line::<_, Told<A, E>>(&mut read, &mut line).await {
            Ok(Some(Told::Answer { id, answer })) => {
                let asked = waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(|w| w.remove(&id));
                if let Some(tell) = asked {
                    // The asker may have stopped waiting; its answer then has no reader.
                    drop(tell.send(answer));
                }
            }
            Ok(Some(Told::Push { push })) => {
                if events.send(push).is_err() {
                    tracing::debug!("nobody reads the events of this link");
                }
            }
            Ok(None) => break,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "link broke");
                break;
            }
        }
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
}
