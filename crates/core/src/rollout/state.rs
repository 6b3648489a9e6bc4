//! Where a rollout stands.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    analysis::GateReport,
    id::{AgentName, PhaseName, RolloutId},
    plan::Plan,
    time::UnixMillis,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// The baseline is being measured; nothing has been touched.
    Preflight,
    Progressing {
        phase: usize,
        #[serde(flatten)]
        step: Step,
    },
    /// All agents are on green; judged once more.
    Validating {
        judging: bool,
    },
    /// Blue is still held, so this can be undone.
    Completed,
    /// Blue is being removed; this cannot be undone.
    Committed,
    RollingBack {
        step: RollbackStep,
    },
    RolledBack,
    /// The rollback did not come to its end in time; it goes on when asked to.
    NeedsAttention,
    /// The baseline cannot serve; nothing was touched.
    PreflightFailed,
}

impl State {
    /// Nothing moves any more by itself.
    pub fn is_over(self) -> bool {
        match self {
            Self::Committed | Self::RolledBack | Self::PreflightFailed => true,
            // Traffic may still be on green: no new rollout before a person has looked.
            Self::NeedsAttention => false,
            Self::Preflight
            | Self::Progressing { .. }
            | Self::Validating { .. }
            | Self::Completed
            | Self::RollingBack { .. } => false,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Progressing { .. } => "progressing",
            Self::Validating { .. } => "validating",
            Self::Completed => "completed",
            Self::Committed => "committed",
            Self::RollingBack { .. } => "rolling back",
            Self::RolledBack => "rolled back",
            Self::NeedsAttention => "in need of attention",
            Self::PreflightFailed => "preflight failed",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The batch's greens are started and proven.
    Warming { batch: usize },
    /// Their traffic is moved, all at once.
    CuttingOver { batch: usize },
    /// The phase runs under load. `look` counts from 1; an extension adds one.
    Baking { look: u32 },
    /// The evidence is being judged.
    Gate { look: u32 },
    /// Judged well, or asked of a person; waits for resume or promote.
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackStep {
    /// Traffic goes to blue.
    Shift,
    /// Green instances end.
    Swap,
    /// Every blue instance must be ready and have the traffic.
    Validate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum PauseReason {
    Asked {
        by: String,
        why: String,
    },
    /// The evidence did not suffice, and the policy asks a person.
    ThinEvidence,
}

/// Why a rollout is being undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "trigger", rename_all = "snake_case")]
pub enum Trigger {
    Operator {
        by: String,
        why: String,
    },
    /// A gate found harm.
    Gate {
        criteria: Vec<String>,
        why: String,
    },
    /// Instances of one agent's green end again and again (R99).
    CrashLoop {
        agent: AgentName,
        exits: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    pub name: PhaseName,
    pub agents_cumulative: usize,
    pub began: UnixMillis,
    pub bake_began: Option<UnixMillis>,
    /// One-second records after this number belong to the bake.
    pub after_second: Option<u64>,
    pub ended: Option<UnixMillis>,
    pub report: Option<GateReport>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackRecord {
    pub trigger: Trigger,
    pub began: UnixMillis,
    pub shifted: Option<UnixMillis>,
    pub swapped: Option<UnixMillis>,
    pub validated: Option<UnixMillis>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    pub id: RolloutId,
    pub by: String,
    pub plan: Arc<Plan>,
    #[serde(flatten)]
    pub state: State,
    pub paused: Option<PauseReason>,
    pub started: UnixMillis,
    pub ended: Option<UnixMillis>,
    /// The rollback window is over or a person gave it up: blue goes as soon as green serves everybody.
    pub committing: bool,
    pub baseline_after_second: Option<u64>,
    /// The baseline ends with this record: nothing was touched up to it.
    pub baseline_until_second: Option<u64>,
    /// Why the preflight failed.
    pub refused: Option<String>,
    pub phases: Vec<PhaseRecord>,
    pub validation: Option<PhaseRecord>,
    pub rollback: Option<RollbackRecord>,
}

impl Rollout {
    pub(crate) fn new(id: RolloutId, by: String, plan: Plan, now: UnixMillis) -> Self {
        Self {
            id,
            by,
            plan: Arc::new(plan),
            state: State::Preflight,
            paused: None,
            started: now,
            ended: None,
            committing: false,
            baseline_after_second: None,
            baseline_until_second: None,
            refused: None,
            phases: Vec::new(),
            validation: None,
            rollback: None,
        }
    }

    /// The record of the phase that is under way.
    pub(crate) fn phase_mut(&mut self) -> Option<&mut PhaseRecord> {
        match self.state {
            State::Validating { .. } => self.validation.as_mut(),
            State::Preflight
            | State::Progressing { .. }
            | State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => self.phases.last_mut(),
        }
    }
}
