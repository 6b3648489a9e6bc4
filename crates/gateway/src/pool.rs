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

use crate::{limits, target::Target, wire::Connection};

#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<InstanceId, Vec<Idle>>>,
}

struct Idle {
    connection: Connection,
    target: Arc<Target>,
    until: Instant,
}

impl Pool {
    /// The connection that was used last, if there is one that can be used. Those that cannot are dropped.
    pub(crate) fn take(&self, instance: InstanceId) -> Option<Connection> {
        let mut all = self.lock();
        let kept = all.get_mut(&instance)?;
        let now = Instant::now();
        std::iter::from_fn(|| kept.pop())
            .find(|idle| idle.until > now && idle.connection.is_idle())
            .map(|idle| idle.connection)
    }

    /// Keeps a connection whose response has ended. `peer_keeps`: how long the peer says it does.
    pub(crate) fn put(&self, target: &Arc<Target>, connection: Connection, peer_keeps: Option<Duration>) {
        let keep = match peer_keeps {
            Some(theirs) => limits::IDLE_LIMIT.min(theirs.saturating_sub(Duration::from_secs(1))),
            None => limits::IDLE_LIMIT,
        };
        if target.is_retired() || keep.is_zero() {
            return;
        }
        let mut all = self.lock();
        let kept = all.entry(target.card.instance).or_default();
        if kept.len() < limits::IDLE_PER_INSTANCE {
            kept.push(Idle { connection, target: target.clone(), until: Instant::now() + keep });
        }
    }

    /// Drops what was idle for too long, and all connections to instances that are retired.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|_, kept| {
            kept.retain(|idle| idle.until > now && !idle.target.is_retired() && idle.connection.is_idle());
            !kept.is_empty()
        });
    }

    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<Connection> {
        Connection::dial(to, limits::CONNECT_TIMEOUT).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceId, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
