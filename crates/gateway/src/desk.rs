//! The desk in front of the writer: every question to it, and the handle that asks.
//!
//! The queue is bounded; who asks waits for a place in it. An answer comes after the commit. If the store could
//! not be written there is none, and the question counts as not asked.

use bellwether_core::{
    id::InstanceId,
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayIntent},
    time::Millis,
    traffic::{self, Completion, Granted, Progress, TaskId, Told},
};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::store::{Completed, Ended, Ends};

pub(crate) struct Submission {
    /// Its id is a key of the submitter's, or a random one.
    pub(crate) task: traffic::Submission,
    /// The JSON object that an agent will get, less its attempt.
    pub(crate) body: Vec<u8>,
}

pub(crate) enum SubmitAnswer {
    Queued {
        agent: String,
    },
    /// A task of this id was submitted before.
    Known {
        agent: String,
    },
    NotFound(String),
    Full {
        retry_after: Millis,
    },
}

/// A task in the hands of an agent.
pub(crate) struct HandedOut {
    pub(crate) granted: Granted,
    pub(crate) body: Vec<u8>,
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

/// A task that has not ended, as people are shown it.
#[derive(Serialize)]
pub(crate) struct Live {
    pub(crate) id: String,
    pub(crate) agent: String,
    #[serde(rename = "type")]
    pub(crate) agent_type: String,
    pub(crate) state: &'static str,
    pub(crate) attempts: u32,
    pub(crate) drawn: Option<bellwether_core::id::Side>,
    pub(crate) chance: Option<f64>,
    pub(crate) served: Option<bellwether_core::id::Side>,
    pub(crate) submitted_ms: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    Live(Live),
    Ended(Box<Ended>),
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
        told: Told,
        result: Vec<u8>,
        tell: Tell<Completion>,
    },
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
    /// With `wait`, answered when the task has ended.
    Show {
        id: TaskId,
        wait: bool,
        tell: Tell<Option<Shown>>,
    },
    Counts(Tell<Counts>),
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
}

/// The store could not be written, or the gateway stops.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the gateway's store cannot be written")]
pub(crate) struct Unavailable;

#[derive(Clone)]
pub(crate) struct Desk {
    asks: mpsc::Sender<Ask>,
}

impl Desk {
    pub(crate) fn new(asks: mpsc::Sender<Ask>) -> Self {
        Self { asks }
    }

    pub(crate) async fn ask<T>(&self, ask: impl FnOnce(Tell<T>) -> Ask) -> Result<T, Unavailable> {
        let (tell, told) = oneshot::channel();
        self.asks.send(ask(tell)).await.map_err(|_closed| Unavailable)?;
        told.await.map_err(|_dropped| Unavailable)
    }

    /// Left out when the desk is busy: the lease then runs on from an earlier sign of progress.
    pub(crate) fn renew(&self, id: TaskId, by: InstanceId) {
        if self.asks.try_send(Ask::Renew { id, by }).is_err() {
            tracing::debug!("a sign of progress was left out");
        }
    }
}
