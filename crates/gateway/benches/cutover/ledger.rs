//! What the clients sent and what became of it. Nothing is judged here.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bellwether_core::id::Side;

use crate::fleet::Agent;

/// The one clock of clients and conductor: time since the benchmark began.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn at(self, since: Duration) -> tokio::time::Instant {
        (self.0 + since).into()
    }
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) posts: Vec<Post>,
    pub(crate) streams: Vec<Stream>,
}

pub(crate) struct Post {
    pub(crate) agent: Agent,
    /// When it should have been sent; latency counts from here.
    pub(crate) due: Duration,
    /// Not a byte of it had left before this.
    pub(crate) sent: Duration,
    pub(crate) ended: Duration,
    pub(crate) outcome: Result<Side, Failure>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    NdJson,
    Sse,
    WebSocket,
}

/// A stream of lines or a WebSocket.
pub(crate) struct Stream {
    pub(crate) kind: Kind,
    pub(crate) agent: Agent,
    /// Open for the whole run, and not for a second.
    pub(crate) lasting: bool,
    pub(crate) sent: Duration,
    pub(crate) opened: Option<Opened>,
    pub(crate) ended: Duration,
    /// Lines in order, or messages echoed.
    pub(crate) pieces: u64,
    /// Between two lines, or between a message and its echo.
    pub(crate) longest_pause: Duration,
    /// Whether it came to its end, complete.
    pub(crate) end: Result<(), Failure>,
}

#[derive(Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) by: Side,
    pub(crate) at: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    Connect,
    Broken,
    TimedOut,
    Status(u16),
    /// Answered by another agent.
    Misrouted,
    /// The answer is not that to what was sent, or a piece is missing.
    Altered,
    /// As many requests as allowed were still without an answer.
    Unsent,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("could not connect"),
            Self::Broken => f.write_str("connection broke"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Misrouted => f.write_str("answered by another agent"),
            Self::Altered => f.write_str("not what was asked for"),
            Self::Unsent => f.write_str("never sent: too many without an answer"),
        }
    }
}
