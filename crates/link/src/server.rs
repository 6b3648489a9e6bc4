//! The answering side.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::BufReader,
    net::{UnixListener, UnixStream, unix::OwnedReadHalf, unix::OwnedWriteHalf},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use crate::frame::{Asked, Error, Hello, Told, read_line, write_line};

/// Requests of all clients, each with the place for its answer.
pub type Requests<Q, A> = mpsc::UnboundedReceiver<(Q, oneshot::Sender<A>)>;

/// Who reads nothing for so long, because it is stopped or hangs, loses its link. What it is to be told would pile up
/// without a bound.
const READ_WITHIN: Duration = Duration::from_secs(30);

type Outbox<A, E> = mpsc::UnboundedSender<Told<A, E>>;

/// Pushes events to whoever is connected. Cheap to clone.
pub struct Peers<A, E> {
    all: Arc<Mutex<Vec<Outbox<A, E>>>>,
}

impl<A, E> Clone for Peers<A, E> {
    fn clone(&self) -> Self {
        Self { all: self.all.clone() }
    }
}

impl<A, E: Clone> Peers<A, E> {
    pub fn push(&self, event: &E) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|peer| peer.send(Told::Push { push: event.clone() }).is_ok());
    }
}

/// Listens until dropped.
pub struct Server<A, E> {
    peers: Peers<A, E>,
    accepting: tokio::task::JoinHandle<()>,
}

impl<A, E> Server<A, E>
where
    A: Serialize + Send + Sync + 'static,
    E: Serialize + Clone + Send + Sync + 'static,
{
    pub fn start<Q: DeserializeOwned + Send + 'static>(listener: UnixListener, hello: Hello) -> (Self, Requests<Q, A>) {
        let peers = Peers { all: Arc::default() };
        let (ask, asked) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(accept(listener, hello, peers.clone(), ask));
        (Self { peers, accepting }, asked)
    }

    pub fn peers(&self) -> Peers<A, E> {
        self.peers.clone()
    }
}

impl<A, E> Drop for Server<A, E> {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type Ask<Q, A> = mpsc::UnboundedSender<(Q, oneshot::Sender<A>)>;

async fn accept<Q, A, E>(listener: UnixListener, hello: Hello, peers: Peers<A, E>, ask: Ask<Q, A>)
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + Sync + 'static,
    E: Serialize + Clone + Send + Sync + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, hello.clone(), peers.clone(), ask.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the link");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve<Q, A, E>(stream: UnixStream, hello: Hello, peers: Peers<A, E>, ask: Ask<Q, A>)
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + Sync + 'static,
    E: Serialize + Clone + Send + Sync + 'static,
{
    let (read, write) = stream.into_split();
    if let Err(error) = converse(BufReader::new(read), write, hello, peers, ask).await {
        tracing::debug!(%error, "link connection ended");
    }
}

async fn converse<Q, A, E>(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    hello: Hello,
    peers: Peers<A, E>,
    ask: Ask<Q, A>,
) -> Result<(), Error>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + Sync + 'static,
    E: Serialize + Clone + Send + Sync + 'static,
{
    let mut line = Vec::new();
    write_line(&mut write, &hello).await?;
    let theirs = read_line(&mut read, &mut line).await?.ok_or(Error::Closed)?;
    hello.meets(theirs)?;
    let (tell, mut told) = mpsc::unbounded_channel();
    peers.all.lock().unwrap_or_else(PoisonError::into_inner).push(tell.clone());
    // Ends with the last sender or with the connection, whichever comes first.
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(frame) = told.recv().await {
            match timeout(READ_WITHIN, write_line(&mut write, &frame)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return tracing::debug!(%error, "cannot write to the link"),
                // Dropping this half ends the link for the other end, which then knows that it missed something.
                Err(_elapsed) => return tracing::warn!("the other end of a link does not read what it is told"),
            }
        }
    });
    while let Some(Asked { id, ask: question }) = read_line(&mut read, &mut line).await? {
        let (answer, answered) = oneshot::channel();
        if ask.send((question, answer)).is_err() {
            break;
        }
        let tell = tell.clone();
        tasks.spawn(async move {
            if let Ok(answer) = answered.await {
                // A closed connection has nobody left to tell.
                drop(tell.send(Told::Answer { id, answer }));
            }
        });
        while tasks.try_join_next().is_some() {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::Client;

    struct Socket(std::path::PathBuf);

    impl Socket {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("bw-link-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            drop(std::fs::remove_file(&self.0));
        }
    }

    #[tokio::test]
    async fn asks_are_answered_and_events_arrive() {
        let socket = Socket::new("ask");
        let listener = UnixListener::bind(&socket.0).unwrap();
        let (server, mut requests) = Server::<u64, String>::start::<u64>(listener, Hello::new("test", 1));
        let answering = tokio::spawn(async move {
            while let Some((n, tell)) = requests.recv().await {
                tell.send(n * 2).unwrap();
            }
        });
        let (client, mut events) = Client::<u64>::connect::<String>(&socket.0, Hello::new("test", 1)).await.unwrap();
        let (a, b) = tokio::join!(client.ask(&4u64), client.ask(&5u64));
        assert_eq!((a.unwrap(), b.unwrap()), (8, 10));
        server.peers().push(&"moved".to_owned());
        assert_eq!(events.recv().await.unwrap(), "moved");
        answering.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_loses_its_link_and_learns_of_it() {
        let socket = Socket::new("stuck");
        let listener = UnixListener::bind(&socket.0).unwrap();
        let (server, _requests) = Server::<u64, String>::start::<u64>(listener, Hello::new("test", 1));
        let mut stuck = UnixStream::connect(&socket.0).await.unwrap();
        write_line(&mut stuck, &Hello::new("test", 1)).await.unwrap();
        let long = "x".repeat(1 << 20);
        // More than the socket holds, once the link is up.
        while server.peers().all.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        (0..8).for_each(|_| server.peers().push(&long));
        tokio::time::sleep(2 * READ_WITHIN).await;
        let mut told = Vec::new();
        stuck.read_to_end(&mut told).await.unwrap();
        assert!(told.len() < 8 << 20, "it was told {} bytes", told.len());
        server.peers().push(&"more".to_owned());
        assert!(server.peers().all.lock().unwrap().is_empty(), "nothing is kept for it");
    }

    #[tokio::test]
    async fn two_builds_that_differ_say_so() {
        let socket = Socket::new("hello");
        let listener = UnixListener::bind(&socket.0).unwrap();
        let (_server, _requests) = Server::<u64, String>::start::<u64>(listener, Hello::new("test", 1));
        let refused = Client::<u64>::connect::<String>(&socket.0, Hello::new("test", 2)).await.err().unwrap();
        assert!(refused.to_string().contains("test version 1"), "{refused}");
    }

    #[tokio::test]
    async fn a_server_that_goes_ends_the_asking() {
        let socket = Socket::new("gone");
        let listener = UnixListener::bind(&socket.0).unwrap();
        let (server, requests) = Server::<u64, String>::start::<u64>(listener, Hello::new("test", 1));
        let (client, mut events) = Client::<u64>::connect::<String>(&socket.0, Hello::new("test", 1)).await.unwrap();
        drop((server, requests));
        let answer = tokio::time::timeout(Duration::from_secs(5), client.ask(&1u64)).await.unwrap();
        assert!(matches!(answer, Err(Error::Closed | Error::Io(_))));
        assert!(events.recv().await.is_none());
    }
}
