//! Connections to instances, kept for a moment between requests. One pool per runtime thread.
//!
//! Never kept for as long as the peer might, and not for an instance that is retired, which may be frozen next.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bellwether_core::id::InstanceId;
use hyper::{
    body::Body,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::TaskTracker;

use crate::{body::BoxError, limits, target::Target};

/// `B` is the body of requests.
pub(crate) struct Pool<B> {
    idle: Mutex<HashMap<InstanceId, Vec<Idle<B>>>>,
    /// Owns the connections' tasks.
    tracker: TaskTracker,
}

struct Idle<B> {
    sender: SendRequest<B>,
    target: Arc<Target>,
    until: Instant,
}

impl<B> Default for Pool<B> {
    fn default() -> Self {
        Self { idle: Mutex::default(), tracker: TaskTracker::new() }
    }
}

impl<B> Pool<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// The connection that was used last, if there is one that is ready. What cannot be used stays for the sweep, so that
    /// a look does not grow with the pool.
    pub(crate) fn take(&self, instance: InstanceId) -> Option<SendRequest<B>> {
        let mut all = self.lock();
        let kept = all.get_mut(&instance)?;
        let now = Instant::now();
        let ready = kept.iter().rposition(|idle| idle.sender.is_ready() && idle.until > now)?;
        Some(kept.remove(ready).sender)
    }

    /// Keeps a connection whose response has ended. `peer_keeps`: how long the peer says it does.
    pub(crate) fn put(&self, target: &Arc<Target>, sender: SendRequest<B>, peer_keeps: Option<Duration>) {
        let keep = match peer_keeps {
            Some(theirs) => limits::IDLE_LIMIT.min(theirs.saturating_sub(Duration::from_secs(1))),
            None => limits::IDLE_LIMIT,
        };
        if target.is_retired() || sender.is_closed() || keep.is_zero() {
            return;
        }
        let mut all = self.lock();
        let kept = all.entry(target.card.instance).or_default();
        if kept.len() < limits::IDLE_PER_INSTANCE {
            kept.push(Idle { sender, target: target.clone(), until: Instant::now() + keep });
        }
    }

    /// Drops what was idle for too long, and all connections to instances that are retired.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|_, kept| {
            kept.retain(|idle| idle.until > now && !idle.sender.is_closed() && !idle.target.is_retired());
            !kept.is_empty()
        });
    }

    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<SendRequest<B>> {
        let stream = timeout(limits::CONNECT_TIMEOUT, TcpStream::connect(to))
            .await
            .map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.tracker.spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, %to, "upstream connection ended");
            }
        });
        Ok(sender)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceId, Vec<Idle<B>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
