//! Tasks as the gateway shows them.

use std::{collections::BTreeMap, fmt};

use bellwether_core::{id::Side, time::UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A JSON object whose values pass as they were written, to the last digit.
pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Delayed,
    Queued,
    Leased,
    Completed,
    Failed,
    Expired,
    Cancelled,
}

impl State {
    pub(super) fn has_ended(self) -> bool {
        match self {
            Self::Delayed | Self::Queued | Self::Leased => false,
            Self::Completed | Self::Failed | Self::Expired | Self::Cancelled => true,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Delayed => "delayed",
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) agent: String,
    #[serde(rename = "type")]
    pub(super) agent_type: String,
    pub(super) state: State,
    pub(super) priority: Option<String>,
    pub(super) attempts: u32,
    pub(super) attempts_max: Option<u32>,
    /// The side that served the drawn agent, of a task for a type.
    pub(super) drawn: Option<Side>,
    pub(super) served: Option<Side>,
    pub(super) served_agent: Option<String>,
    pub(super) submitted_ms: UnixMillis,
    pub(super) not_before_ms: Option<UnixMillis>,
    pub(super) begin_by_ms: Option<UnixMillis>,
    pub(super) finished_ms: Option<UnixMillis>,
    /// What the last failed attempt said, or why it ended.
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) checkpoint: bool,
    pub(super) result: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    pub(super) delayed: u64,
    pub(super) queued: u64,
    pub(super) leased: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) expired: u64,
    pub(super) cancelled: u64,
}

/// What a submission is answered with.
#[derive(Debug, Deserialize)]
pub(super) struct Accepted {
    pub(super) id: String,
    pub(super) agent: String,
}

/// One end, as `/completions` has it.
#[derive(Debug, Deserialize)]
pub(super) struct End {
    pub(super) id: String,
    pub(super) agent: String,
    pub(super) status: State,
    pub(super) attempt: u32,
    pub(super) at_ms: UnixMillis,
}
