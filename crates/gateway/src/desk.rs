//! The desk in front of the writer: every question to it, and the handle that asks.
//!
//! The queue is bounded; who asks waits for a place in it. An answer comes after the commit. If the store could
//! not be written there is none, and the question counts as not asked.

use std::sync::{Arc, Mutex, PoisonError};

use bellwether_core::{
    id::InstanceId,
    observation::Second,
    port::{
        gateway::{GatewayAnswer, GatewayIntent},
        heir::Late,
    },
    time::Millis,
    traffic::{self, Completion, Granted, Progress, TaskId, Told},
};
use serde::Serialize;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::store::{Completed, Ends, Filter, Letter, Outbox, Posted, Shown, Waiting};

pub(crate) struct Submission {
    pub(crate) task: traffic::Submission,
    /// Its id is a random one of ours, not a key of the submitter's.
    pub(crate) is_fresh: bool,
    /// The JSON object that an agent will get, less its attempt.
    pub(crate) body: Vec<u8>,
}

pub(crate) enum SubmitAnswer {
    /// The disk is full.
    NoRoom,
    Queued {
        agent: String,
    },
    /// This very task was submitted before.
    Known {
        agent: String,
    },
    /// Another task was, under this id.
    Conflict,
    NotFound(String),
    Full {
        retry_after: Millis,
    },
}

/// A task on its way to an agent. What is dropped before it is delivered goes back into its place in line.
pub(crate) struct HandedOut {
    pub(crate) granted: Granted,
    pub(crate) body: Vec<u8>,
    to: InstanceId,
    way_back: Option<Returns>,
}

/// Where undelivered tasks come back. Never more of them than leases.
pub(crate) type Returns = mpsc::UnboundedSender<(InstanceId, Granted)>;

impl HandedOut {
    pub(crate) fn new(to: InstanceId, granted: Granted, body: Vec<u8>, way_back: Returns) -> Self {
        Self { granted, body, to, way_back: Some(way_back) }
    }

    /// Whoever it is for has it.
    pub(crate) fn delivered(&mut self) {
        self.way_back = None;
    }
}

impl Drop for HandedOut {
    fn drop(&mut self) {
        if let Some(way_back) = self.way_back.take() {
            // Nobody listens only after the writer has ended; the lease is then told to the next one.
            drop(way_back.send((self.to, self.granted.clone())));
        }
    }
}

/// What an agent says of a task that it held.
pub(crate) struct Account {
    pub(crate) told: Told,
    /// JSON: the result, or what went wrong.
    pub(crate) result: Vec<u8>,
    /// JSON, for another attempt at what failed.
    pub(crate) checkpoint: Option<Vec<u8>>,
    /// What the backend is sent if this is the end of a task of its own.
    pub(crate) letter: Option<Letter>,
}

/// What became of a task that the backend gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TakenIn {
    /// It is the answer to the question of the instance, which is still open.
    HandedOut,
    /// Nobody waits for it any more, so it waits for the agent's active instance.
    Queued,
    /// It was given before and has not ended.
    Live,
    /// It has ended, and the backend will be told again.
    Ended,
    /// There is no room for it at the moment.
    Refused,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Counts {
    pub(crate) delayed: u64,
    pub(crate) queued: u64,
    pub(crate) leased: u64,
    /// Of those that are still kept.
    #[serde(flatten)]
    pub(crate) ended: Ends,
}

pub(crate) enum CancelAnswer {
    /// By this question or an earlier one.
    Cancelled(Box<Shown>),
    /// Otherwise.
    Ended(Box<Shown>),
    Unknown,
}

pub(crate) enum ReviveAnswer {
    /// The disk is full.
    NoRoom,
    Queued {
        agent: String,
    },
    NotEnded,
    Completed,
    Unknown,
    /// Its agent left the fleet.
    NoAgent(String),
    Full {
        retry_after: Millis,
    },
}

/// How long who asks for a task would wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Not,
    ForEnd,
    /// Until it is different from what was seen.
    ForChange(Seen),
}

/// What of a task has changed when the task has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    state: &'static str,
    attempts: u32,
    checkpoint: bool,
}

impl Wait {
    pub(crate) fn goes_on(self, shown: &Shown) -> bool {
        match self {
            Self::Not => false,
            Self::ForEnd => !shown.has_ended(),
            Self::ForChange(seen) => !shown.has_ended() && seen == Seen::of(shown),
        }
    }
}

impl Seen {
    pub(crate) fn of(shown: &Shown) -> Self {
        Self { state: shown.state, attempts: shown.attempts, checkpoint: shown.checkpoint }
    }
}

/// Part of the list of tasks.
pub(crate) struct Page {
    pub(crate) tasks: Vec<Shown>,
    /// The list goes on behind this number. There may be nothing more that is wanted.
    pub(crate) next: Option<u64>,
}

pub(crate) type Tell<T> = oneshot::Sender<T>;

pub(crate) enum Ask {
    Submit(Submission, Tell<SubmitAnswer>),
    Places {
        instance: InstanceId,
        places: u32,
        tell: Tell<()>,
    },
    Next {
        instance: InstanceId,
        places: Option<u32>,
        /// While there is none, the answer is kept back for as long.
        hold: Millis,
        tell: Tell<Option<HandedOut>>,
    },
    Complete {
        id: TaskId,
        by: InstanceId,
        account: Box<Account>,
        tell: Tell<Completion>,
    },
    /// The instance says goodbye.
    Leave {
        instance: InstanceId,
        tell: Tell<()>,
    },
    /// Whether the instance may take one task more than it holds, and a fresh one at all.
    HasRoom {
        instance: InstanceId,
        places: Option<u32>,
        tell: Tell<bool>,
    },
    /// A task that the backend gave for this instance.
    TakeIn {
        instance: InstanceId,
        id: TaskId,
        body: Vec<u8>,
        tell: Tell<TakenIn>,
    },
    /// Letters to the backend that are due.
    Letters(Tell<Vec<Waiting>>),
    /// What became of sending one.
    Posted {
        number: u64,
        posted: Posted,
        tell: Tell<()>,
    },
    /// Letters that are waiting or were refused.
    Outbox(Tell<Outbox>),
    /// A word of the holder on how it gets on.
    Progress {
        id: TaskId,
        by: InstanceId,
        attempt: Option<u32>,
        checkpoint: Option<Vec<u8>>,
        tell: Tell<Progress>,
    },
    /// Progress on a task: no answer.
    Renew {
        id: TaskId,
        by: InstanceId,
    },
    Show {
        id: TaskId,
        wait: Wait,
        tell: Tell<Option<Shown>>,
    },
    Cancel {
        id: TaskId,
        tell: Tell<CancelAnswer>,
    },
    Revive {
        id: TaskId,
        tell: Tell<ReviveAnswer>,
    },
    Counts(Tell<Counts>),
    List {
        filter: Filter,
        after: u64,
        limit: usize,
        tell: Tell<Page>,
    },
    /// With `wait`, answered when there is at least one.
    Completions {
        after: u64,
        limit: usize,
        wait: bool,
        tell: Tell<Vec<Completed>>,
    },
    Intent(GatewayIntent, Tell<GatewayAnswer>),
    /// Numbers the records and stores them.
    Spool(Vec<Second>, Tell<Vec<Second>>),
    /// The store goes to another gateway. Nothing is answered after this.
    Close,
}

/// The store could not be written, or the gateway stops.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the gateway's store cannot be written")]
pub(crate) struct Unavailable;

#[derive(Clone)]
pub(crate) struct Desk {
    asks: mpsc::Sender<Ask>,
    /// For the gateway that has the store when this one no longer has. Bounded by what was in flight then.
    left: Arc<Mutex<Vec<Late>>>,
}

impl Desk {
    pub(crate) fn new(asks: mpsc::Sender<Ask>) -> Self {
        Self { asks, left: Arc::default() }
    }

    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(Tell<T>) -> Ask) -> Result<T, Unavailable> {
        let (tell, told) = oneshot::channel();
        self.asks.send(ask(tell)).await.map_err(|_closed| Unavailable)?;
        told.await.map_err(|_dropped| Unavailable)
    }

    /// Left out when the desk is busy: the lease then runs on from an earlier sign of progress.
    pub(crate) fn renew(&self, id: TaskId, by: InstanceId) {
        match self.asks.try_send(Ask::Renew { id, by }) {
            Ok(()) => {}
            Err(TrySendError::Closed(Ask::Renew { id, by })) => self.leave(Late::Renewed { id, by }),
            Err(_full) => tracing::debug!("a sign of progress was left out"),
        }
    }

    /// Whatever was asked before is answered first.
    pub(crate) async fn close(&self) {
        if self.asks.send(Ask::Close).await.is_err() {
            tracing::error!("the store was closed before it was given away");
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.asks.is_closed()
    }

    /// For the desk of the gateway that has the store.
    pub(crate) fn leave(&self, late: Late) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(late);
    }

    pub(crate) fn take_late(&self) -> Vec<Late> {
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
