//! What can happen to a controller. Every variant that a controller accepts is journaled.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{once::Once, position::Position, state::Again};
use crate::{
    analysis::GateReport,
    id::{AgentName, AgentType, Generation, InstanceId, PhaseName, RevisionId, RolloutId},
    plan::Plan,
    port::{driver::Exit, gateway::GatewayView},
    spec::Delivery,
    time::{ClockJump, Millis},
    watch::Alarm,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event of a state directory: what should run.
    FleetDeclared {
        agents: Vec<FleetAgent>,
    },
    /// A controller has started on an existing journal: its monotonic clock has another origin.
    Restarted,
    /// The stores were put back from a backup. Nothing of what ran when it was made runs any more, and no number below
    /// `next` may be given to an instance, because one may have had it since.
    Restored {
        next: InstanceId,
    },
    /// The world as it was found. Comes after a start and as the answer to [`super::Command::Observe`].
    Converge {
        running: BTreeSet<InstanceId>,
        gateway: GatewayView,
    },
    /// The gateway knows these instances.
    Enrolled {
        instances: Vec<InstanceId>,
    },
    /// The process runs; it need not be ready.
    Started {
        instance: InstanceId,
    },
    StartFailed {
        instance: InstanceId,
        reason: String,
    },
    Exited {
        instance: InstanceId,
        exit: Exit,
    },
    Frozen {
        instance: InstanceId,
    },
    Thawed {
        instance: InstanceId,
    },
    /// It asked for a task: its main loop runs.
    Polled {
        instance: InstanceId,
    },
    /// Its health endpoint answered 200.
    Healthy {
        instance: InstanceId,
    },
    /// It answered a synthetic task; `fault` says what was wrong with the answer.
    TriedOut {
        instance: InstanceId,
        fault: Option<String>,
    },
    CutOver {
        generation: Generation,
    },
    /// The gateway refused a cutover because another generation stands.
    CutOverStale {
        standing: Generation,
    },
    FellBack {
        agent: AgentName,
        from: InstanceId,
        to: InstanceId,
        generation: Generation,
    },
    /// A retired instance holds nothing any more.
    Empty {
        instance: InstanceId,
        revoked: u64,
    },
    /// From which one-second record on a window counts.
    WindowOpened {
        rollout: RolloutId,
        after_second: u64,
    },
    /// The baseline was measured, or why it cannot serve.
    BaselineMeasured {
        rollout: RolloutId,
        until_second: u64,
        refused: Option<String>,
    },
    Judged {
        rollout: RolloutId,
        look: u32,
        report: GateReport,
    },
    Planned {
        plan: Box<Plan>,
        by: String,
        /// A rollout that came to nothing is tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again: Option<Again>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<Once>,
    },
    /// So much of the disk is held back for undoing this rollout, in both stores together. From here on its traffic goes
    /// back to blue even where that cannot be recorded.
    RollbackAuthorised {
        rollout: RolloutId,
        reserve_bytes: u64,
    },
    /// The journal could not be written for want of room, and lives on what was held back for a rollback.
    DiskFull {
        why: String,
    },
    /// An earlier controller began to undo the rollout and could not record it. `next` is the first instance number that
    /// it had not used.
    RollbackFound {
        rollout: RolloutId,
        next: InstanceId,
        why: String,
    },
    /// A trigger fired.
    Alarm {
        rollout: RolloutId,
        alarm: Box<Alarm>,
    },
    /// What the checks of a rollback's result say: no fault, or what still stands against it.
    RollbackChecked {
        rollout: RolloutId,
        fault: Option<String>,
    },
    Verb(Verb),
    /// The wall clock was set while the controller ran. Deadlines do not mind; times of before and after do not compare.
    ClockJumped {
        jump: ClockJump,
    },
    /// A timer is due.
    Tick,
}

impl Event {
    /// The start of a rollout, asked for without a key.
    pub fn start(plan: Plan, by: impl Into<String>) -> Self {
        Self::Planned { plan: Box::new(plan), by: by.into(), again: None, once: None }
    }
}

/// What an operator asks for, with who and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verb {
    pub verb: VerbKind,
    pub rollout: RolloutId,
    pub by: String,
    pub reason: String,
    /// For a rollback of less than the whole rollout.
    #[serde(default)]
    pub only: Option<Only>,
    /// For what a freeze window would hold up: why it should not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_freeze: Option<String>,
    /// Where the rollout stood when whoever asks looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Position>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
}

impl Verb {
    pub fn new(verb: VerbKind, rollout: RolloutId, by: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            verb,
            rollout,
            by: by.into(),
            reason: reason.into(),
            only: None,
            override_freeze: None,
            expect: None,
            once: None,
        }
    }
}

/// A part of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    Agents(BTreeSet<AgentName>),
    Types(BTreeSet<AgentType>),
    Phase(PhaseName),
}

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: Vec<&str>| names.join(", ");
        match self {
            Self::Agents(agents) => write!(f, "agent {}", list(agents.iter().map(AgentName::as_str).collect())),
            Self::Types(types) => write!(f, "agent of type {}", list(types.iter().map(AgentType::as_str).collect())),
            Self::Phase(phase) => write!(f, "phase {phase}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerbKind {
    Pause,
    Resume,
    /// End the bake and judge, or go on where a person was asked.
    Promote,
    /// Try again what has failed: a rollback, greens in their back-off, or a whole rollout.
    Retry,
    /// Let a phase begin that asks a person first.
    Approve,
    /// Go back instead.
    Reject,
    Rollback,
    /// Give up blue: the rollout can no longer be undone.
    Commit,
}

impl VerbKind {
    pub const ALL: [Self; 8] = [
        Self::Pause,
        Self::Resume,
        Self::Promote,
        Self::Retry,
        Self::Approve,
        Self::Reject,
        Self::Rollback,
        Self::Commit,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Retry => "retry",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Rollback => "rollback",
            Self::Commit => "commit",
        }
    }
}

/// One agent as the controller has to know it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetAgent {
    pub name: AgentName,
    pub agent_type: AgentType,
    pub revision: RevisionId,
    pub http: bool,
    #[serde(default)]
    pub delivery: Delivery,
    pub boot: Millis,
    pub drain: Millis,
}
