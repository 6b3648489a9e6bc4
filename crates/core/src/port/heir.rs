//! What a gateway that takes another one's place asks of it, and what the older one leaves it.
//!
//! The younger one, the heir, asks; the older one, the elder, answers. The elder closes its store before it answers
//! [`HeirAsk::TakeOver`], so there is one writer at any time. What it still has in flight afterwards counts with the heir:
//! claims on instances, slots of the model server, outcomes. The order is in [`crate::traffic::handover`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentName, InstanceId, ModelName, Side},
    inference::{Runner, RunnerOptions},
    observation::Cell,
    time::Millis,
    traffic::{Outcome, TaskId, Told},
};

/// Name and version of the link between an heir and its elder.
pub const PROTOCOL: (&str, u32) = ("bellwether-heir", 1);

/// Names one heir among several that may ask. Drawn at random by each.
pub type HeirId = u64;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum HeirAsk {
    /// How the gateway stands. For whoever started it, and for heirs, who ask the one that serves before any other.
    Standing,
    /// Never answered: while this question is open, its asker lives.
    Stay { heir: HeirId },
    /// Give way. Answered with [`HeirAnswer::Yours`] once the store is closed.
    TakeOver {
        heir: HeirId,
        /// The newest schema of the store that the heir can read.
        schema: i32,
        /// What is still in flight after this is cut.
        finish_within: Millis,
    },
    /// As [`HeirAsk::TakeOver`], for what is in flight alone: one that serves goes on.
    Adopt { heir: HeirId },
    /// The heir accepts connections: what waits at the elder's door may be passed on.
    Accepting { heir: HeirId },
    /// What else there is. `taken`: the number of the last part that was taken in; it need not be told again.
    More { heir: HeirId, taken: u64 },
    /// End what is in flight to and from this instance: its drain is over.
    Cut { instance: InstanceId },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum HeirAnswer {
    Standing(Standing),
    /// The store is closed.
    Yours(Box<Estate>),
    /// Another heir is there.
    Busy,
    /// It serves, and was not asked to give way.
    Serves,
    /// Nothing was changed, and the elder goes on.
    Refused {
        reason: String,
    },
    Done,
    Left(Box<Left>),
}

/// How a gateway stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// It owns the store and accepts connections.
    pub serves: bool,
    /// One above that of the gateway that gave way to it.
    pub rank: u64,
    /// How it came to, if another gateway gave way to it.
    pub took_over: Option<TookOver>,
}

/// A take-over, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TookOver {
    /// For how long nobody accepted.
    pub gap: Millis,
    /// Client connections that the elder still had.
    pub connections: u64,
    /// Model calls in flight on it.
    pub calls: u64,
}

/// What the elder has in memory at the moment its store is closed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estate {
    pub holding: Holding,
    /// What the first model server has loaded.
    pub resident: Option<Runner>,
    /// Failures in a row.
    pub streaks: Vec<Streak>,
    /// Time that model calls of leased tasks have waited.
    pub waits: Vec<Waited>,
    /// How long its door has been shut.
    pub shut_for: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streak {
    pub agent: AgentName,
    pub served: Side,
    pub failures: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    pub instance: InstanceId,
    pub task: String,
    pub micros: u64,
}

/// What the elder still has in flight. Always told as a whole, so that an heir of which a part was lost is right again
/// with the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    pub instances: Vec<HeldBy>,
    pub calls: Vec<CallHeld>,
    pub connections: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBy {
    pub instance: InstanceId,
    /// Requests, tunnels and model calls of the instance.
    pub claims: u32,
    /// Those that were cut at a drain limit since the store was closed.
    pub revoked: u64,
    /// A task is being brought to it, and its answer is waited for.
    pub errands: bool,
}

/// A call, or a load, that holds a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHeld {
    pub number: u64,
    pub agent: AgentName,
    pub model: ModelName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "RunnerOptions::is_default")]
    pub options: RunnerOptions,
    /// Which of the model servers.
    #[serde(default)]
    pub server: usize,
    /// How many slots.
    #[serde(default = "one")]
    pub slots: u32,
}

fn one() -> u32 {
    1
}

impl CallHeld {
    pub fn runner(&self) -> Runner {
        Runner { model: self.model.clone(), digest: self.digest.clone(), options: self.options.clone() }
    }
}

/// A part of what happened at the elder since its store was closed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Left {
    /// Counted from 1.
    pub number: u64,
    pub holding: Holding,
    /// In the order in which it happened.
    pub late: Vec<Late>,
    /// Nothing comes after this.
    pub is_last: bool,
}

/// Something that the elder can no longer write down itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "late", rename_all = "snake_case")]
pub enum Late {
    /// Counts of what ended. The order of outcomes is told apart.
    Counted {
        cell: Box<Cell>,
    },
    Ended {
        agent: AgentName,
        model: ModelName,
        drawn: Side,
        served: Side,
        outcome: Outcome,
    },
    /// Progress on a task.
    Renewed {
        id: TaskId,
        by: InstanceId,
    },
    Waited(Waited),
    /// The instance has shown itself.
    Signed {
        instance: InstanceId,
    },
    /// The answer of an instance to a task that was brought to it.
    Answered {
        id: TaskId,
        by: InstanceId,
        told: Told,
        result: String,
        checkpoint: Option<String>,
    },
    /// A task that the backend gave for an instance.
    Given {
        instance: InstanceId,
        id: TaskId,
        body: String,
    },
}
