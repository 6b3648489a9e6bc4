//! Connections to one server: never more than a bound, used again, closed when they were idle for long, counted.
//!
//! A connection is idle, busy with one request, or gone: closed as it should be, or by an error. Whoever wants one takes
//! a [`Lease`]; one that is dropped before its answer was read to the end takes its connection with it, because the rest
//! of that answer would be the next one's beginning.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{Builder, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};

use crate::{base::Base, http::HttpError};

/// What hyper may buffer per connection; a fleet has hundreds.
const BUFFER_MAX: usize = 64 << 10;
/// A connection whose last answer was read to its end is free at once, or never.
const FREE_WITHIN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) open_max: usize,
    pub(crate) idle_max: usize,
    /// From the wish for a connection to a free one.
    pub(crate) acquire_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    /// On a quiet connection the kernel asks after so long whether the other side is still there.
    pub(crate) keep_alive: Duration,
    pub(crate) idle_for: Duration,
}

/// Gauges of now, counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) active: u64,
    pub(crate) idle: u64,
    /// Could not be made, or broke.
    pub(crate) error: u64,
    pub(crate) closed: u64,
    /// Requests that found an open connection, and those that had to make one.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

impl Counts {
    pub(crate) fn hit_rate(&self) -> Option<f64> {
        share(self.hits, self.hits + self.misses)
    }
}

/// None of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

pub(crate) struct Connections {
    base: Base,
    bounds: Bounds,
    room: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
    broken: Arc<AtomicU64>,
    drivers: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    idle: Vec<Idle>,
    counts: Counts,
    opened: u64,
}

type Sender = SendRequest<Full<Bytes>>;

struct Idle {
    connection: Connection,
    since: Instant,
}

struct Connection {
    sender: Sender,
    end: End,
}

/// Whether a connection ended by an error. It has two witnesses, who drives it and who reads an answer that breaks off, and
/// counts once.
#[derive(Clone)]
struct End {
    is_broken: Arc<AtomicBool>,
    /// Of all.
    broken: Arc<AtomicU64>,
}

impl End {
    fn broke(&self) {
        if !self.is_broken.swap(true, Relaxed) {
            self.broken.fetch_add(1, Relaxed);
        }
    }
}

impl Connections {
    pub(crate) fn new(base: Base, bounds: Bounds) -> Self {
        Self {
            base,
            bounds,
            room: Arc::new(Semaphore::new(bounds.open_max)),
            state: Arc::default(),
            broken: Arc::default(),
            drivers: Mutex::default(),
        }
    }

    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// Whoever asks for one has to wait.
    pub(crate) fn are_all_busy(&self) -> bool {
        self.room.available_permits() == 0
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut state = lock(&self.state);
        state.idle.retain(|idle| !idle.connection.sender.is_closed());
        let idle = state.idle.len() as u64;
        let total = idle + state.counts.active;
        let broken = self.broken.load(Relaxed);
        let closed = state.opened.saturating_sub(total + broken);
        Counts { idle, total, closed, error: state.counts.error + broken, ..state.counts }
    }

    /// Closes what was idle for too long.
    pub(crate) fn reap(&self, now: Instant) {
        lock(&self.state).idle.retain(|idle| now.saturating_duration_since(idle.since) < self.bounds.idle_for);
    }

    /// An idle connection, the one that was used last, or else one that is made.
    pub(crate) async fn acquire(&self) -> Result<Lease, HttpError> {
        let wait = self.bounds.acquire_timeout;
        let room = match timeout(wait, self.room.clone().acquire_owned()).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => return Err(HttpError::Exhausted(wait)),
        };
        while let Some(mut connection) = self.take_idle() {
            if let Ok(Ok(())) = timeout(FREE_WITHIN, connection.sender.ready()).await {
                lock(&self.state).counts.hits += 1;
                return Ok(self.lease(connection, room, true));
            }
        }
        lock(&self.state).counts.misses += 1;
        let connection = self.open().await?;
        Ok(self.lease(connection, room, false))
    }

    /// For a request that found its connection closed: one that is made for it.
    pub(crate) async fn replace(&self, lease: &mut Lease) -> Result<(), HttpError> {
        lease.connection = None;
        lease.reused = false;
        {
            let counts = &mut lock(&self.state).counts;
            (counts.hits, counts.misses) = (counts.hits - 1, counts.misses + 1);
        }
        lease.connection = Some(self.open().await?);
        Ok(())
    }

    async fn open(&self) -> Result<Connection, HttpError> {
        let limit = self.bounds.connect_timeout;
        let made = match timeout(limit, self.connect()).await {
            Ok(made) => made,
            Err(_elapsed) => Err(format!("no connection within {limit:?}")),
        };
        made.map_err(|cause| {
            lock(&self.state).counts.error += 1;
            HttpError::Connect(cause)
        })
    }

    async fn connect(&self) -> Result<Connection, String> {
        let stream = TcpStream::connect(self.base.endpoint()).await.map_err(|error| error.to_string())?;
        let tuned = stream.set_nodelay(true).map_err(|error| error.to_string()).and_then(|()| {
            set_socket_keepalive(&stream, true)
                .and_then(|()| set_tcp_keepidle(&stream, self.bounds.keep_alive))
                .map_err(|error| error.to_string())
        });
        if let Err(error) = tuned {
            tracing::debug!(%error, "a connection is used as it is");
        }
        let (sender, connection) = Builder::new()
            .max_buf_size(BUFFER_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        lock(&self.state).opened += 1;
        let end = End { is_broken: Arc::default(), broken: self.broken.clone() };
        let driven = end.clone();
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        while drivers.try_join_next().is_some() {}
        drivers.spawn(async move {
            if connection.await.is_err() {
                driven.broke();
            }
        });
        Ok(Connection { sender, end })
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut state = lock(&self.state);
        std::iter::from_fn(|| state.idle.pop()).map(|idle| idle.connection).find(|it| !it.sender.is_closed())
    }

    fn lease(&self, connection: Connection, room: OwnedSemaphorePermit, reused: bool) -> Lease {
        lock(&self.state).counts.active += 1;
        Lease {
            connection: Some(connection),
            _room: room,
            reused,
            idle_max: self.bounds.idle_max,
            state: self.state.clone(),
        }
    }
}

/// One connection for one request.
pub(crate) struct Lease {
    /// None while there is none, and when it went back.
    connection: Option<Connection>,
    _room: OwnedSemaphorePermit,
    reused: bool,
    idle_max: usize,
    state: Arc<Mutex<State>>,
}

impl Lease {
    /// It may have been closed by the other side just now.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        let Some(connection) = &mut self.connection else {
            return Err(HttpError::Broken("the connection is gone".into()));
        };
        connection.sender.send_request(request).await.map_err(|error| HttpError::Broken(error.to_string()))
    }

    /// The answer broke off.
    pub(crate) fn broke(&self) {
        if let Some(connection) = &self.connection {
            connection.end.broke();
        }
    }

    /// For the next one: the answer was read to its end.
    pub(crate) fn keep(mut self) {
        let mut state = lock(&self.state);
        let connection = self.connection.take().filter(|it| !it.sender.is_closed() && state.idle.len() < self.idle_max);
        state.idle.extend(connection.map(|connection| Idle { connection, since: Instant::now() }));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.state).counts.active -= 1;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
