//! Keep-alive connections to the gateway, used in turn, so that each spans every cutover.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

pub(super) type Sender = SendRequest<Full<Bytes>>;

/// Opened before anything is measured; more are where these are not enough.
const OPEN_AT_FIRST: usize = 32;

pub(super) struct Connections {
    gateway: SocketAddr,
    idle: Mutex<VecDeque<Sender>>,
    tasks: TaskTracker,
}

impl Connections {
    pub(super) fn to(gateway: SocketAddr) -> Self {
        Self { gateway, idle: Mutex::default(), tasks: TaskTracker::new() }
    }

    pub(super) async fn open(&self) -> io::Result<()> {
        for _ in 0..OPEN_AT_FIRST {
            let sender = self.connect().await?;
            self.put(sender);
        }
        Ok(())
    }

    /// The one that was idle for the longest.
    pub(super) async fn take(&self) -> io::Result<Sender> {
        let kept = {
            let mut idle = self.lock();
            idle.retain(|sender| !sender.is_closed());
            let ready = idle.iter().position(SendRequest::is_ready);
            ready.and_then(|ready| idle.remove(ready))
        };
        match kept {
            Some(sender) => Ok(sender),
            None => self.connect().await,
        }
    }

    /// Takes back one whose answer was read to its end.
    pub(super) fn put(&self, sender: Sender) {
        self.lock().push_back(sender);
    }

    pub(super) async fn connect(&self) -> io::Result<Sender> {
        let stream = TcpStream::connect(self.gateway).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.tasks.spawn(async move {
            // A connection that breaks fails the request that it carries, which is where it counts.
            drop(connection.await);
        });
        Ok(sender)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
