//! One task: for whom it was drawn, who holds it, how it ended.
//!
//! A task's content is not here. The machine decides on who and when; prompts and results stay in the store.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::priority::Priority;
use crate::{
    id::{AgentName, AgentType, Fence, InstanceId, Side},
    time::{Nanos, UnixMillis},
};

/// Given by the submitter as an idempotency key, or by the gateway.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Arc<str>);

impl TaskId {
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// Whom the submitter wants to work on a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressee {
    Agent(AgentName),
    /// Any agent of the type: one is drawn at random when the task arrives.
    Type(AgentType),
}

/// The random draw of a task that was addressed to a type.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draw {
    /// The side that served the drawn agent at that moment.
    pub side: Side,
    /// How likely it was that this side would be drawn, 0 to 1.
    pub chance: f64,
}

/// A task that has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub id: TaskId,
    /// In which order tasks came. No two have the same.
    pub order: u64,
    pub priority: Priority,
    /// Place in line, before `order`. A task that comes back has its old place.
    pub rank: u64,
    /// Addressed, or drawn.
    pub agent: AgentName,
    pub agent_type: AgentType,
    /// Only of tasks that were addressed to a type.
    pub draw: Option<Draw>,
    /// Of the body.
    pub bytes: u64,
    /// Leases granted so far.
    pub attempts: u32,
    /// It is given up after so many that count.
    pub attempts_max: u32,
    /// Those of `attempts` that a rollout took away: no fault of the task's, and not counted against its limit.
    pub revoked: u32,
    pub submitted: UnixMillis,
    /// An attempt must have begun by then.
    pub begin_by: Option<UnixMillis>,
    /// The same, on the clock of this process.
    pub begin_due: Option<Nanos>,
    /// Whose report of a failure was the last, and of which attempt: to know it when it is said again.
    pub failed_by: Option<(InstanceId, u32)>,
    pub state: State,
}

impl Task {
    /// Attempts that count towards the limit.
    pub fn counted(&self) -> u32 {
        self.attempts.saturating_sub(self.revoked)
    }

    /// The side that an outcome under this lease counts for. The draw chose the agent, and it is the plan that moves an
    /// agent: what the agent itself works on counts for the side that worked on it, also where it was moved while the
    /// task waited. What another agent took over still counts for the side that was drawn, so that a faster puller
    /// gains nothing.
    pub fn arm(&self, lease: &Lease) -> Side {
        match self.draw {
            Some(draw) if lease.agent != self.agent => draw.side,
            _ => lease.side,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Not to be begun before.
    Delayed {
        until: UnixMillis,
        due: Nanos,
    },
    Queued {
        since: Nanos,
    },
    Leased(Lease),
}

/// Who works on a task, and until when it may.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub instance: InstanceId,
    /// The holder's agent: the task's own, or the one that took it over.
    pub agent: AgentName,
    pub side: Side,
    /// Under which it was granted. Stays valid when the agent's fence moves on.
    pub fence: Fence,
    pub granted: Nanos,
    pub granted_at: UnixMillis,
    pub deadline: Nanos,
}

/// A task in an agent's hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub id: TaskId,
    /// Counted from 1.
    pub attempt: u32,
}

/// What an agent says of a task it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    Completed {
        /// Carried less than a result must: stored as it is, observed as a failure (R91).
        empty: bool,
    },
    Failed,
}

/// A report with what its agent says beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub report: Report,
    /// Of which attempt, where the agent says so.
    pub attempt: Option<u32>,
    /// A failure that another attempt would not mend.
    pub for_good: bool,
}

impl From<Report> for Told {
    fn from(report: Report) -> Self {
        Self { report, attempt: None, for_good: false }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    Completed,
    /// It was reported so, or it had its attempts.
    Failed,
    /// It was not begun in time.
    Expired,
    Cancelled,
}

impl End {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What becomes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The one accepted end of the task.
    Accepted {
        seq: u64,
    },
    /// A failure: there will be another attempt.
    Retried,
    /// The answer to a synthetic task.
    TriedOut,
    /// The same instance said so before, and it was accepted then.
    Repeated,
    /// The lease was revoked, has expired or went to another.
    Conflict,
    Unknown,
}

/// What the store knows of a task that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archived {
    /// None if the task was given up.
    pub completed_by: Option<InstanceId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_called_what_they_are_written_down_as() {
        for end in [End::Completed, End::Failed, End::Expired, End::Cancelled] {
            assert_eq!(serde_json::to_value(end).unwrap(), end.as_str());
        }
    }

    #[test]
    fn an_id_is_shown_as_it_was_given() {
        let id = TaskId::new("night 7");
        assert_eq!((format!("{id:>9}"), format!("{id:?}")), ("  night 7".to_owned(), "\"night 7\"".to_owned()));
    }
}
