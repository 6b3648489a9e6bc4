//! Where a rollout stands.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{approval::ApprovalRecord, position::Position};
use crate::{
    analysis::GateReport,
    id::{AgentName, PhaseName, RolloutId},
    plan::{FreezeOverride, Plan},
    time::{ClockJump, Millis, UnixMillis},
    watch::Alarm,
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
            Self::Preflight => "in preflight",
            Self::Progressing { .. } => "progressing",
            Self::Validating { .. } => "validating",
            Self::Completed => "completed",
            Self::Committed => "committed",
            Self::RollingBack { .. } => "rolling back",
            Self::RolledBack => "rolled back",
            Self::NeedsAttention => "in need of attention",
            Self::PreflightFailed => "ended by its preflight",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Nothing of the phase is touched until a person has agreed to it.
    AwaitingApproval,
    /// The batch's greens are started and proven.
    Warming { batch: usize },
    /// Their traffic is moved, all at once.
    CuttingOver { batch: usize },
    /// The first half of the phase bakes beside the blues of the second, which goes on with batch `next`.
    Halfway { next: usize },
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
    /// Blue suffers as green does, and the policy is to hold.
    SharedFault {
        why: String,
    },
    /// A part of the rollout was taken back by policy; a person decides about the rest.
    PartlyRolledBack {
        why: String,
    },
    /// The journal found no room on the disk. What was held back is left for the way back.
    DiskFull {
        why: String,
    },
    /// A freeze window is open. It goes on by itself when that is over.
    Frozen {
        name: String,
        until: UnixMillis,
        /// The same for people, in the time zone of the fleet file.
        ends: String,
    },
    /// The time within which it should have been done is over (R20).
    WindowClosed,
}

impl PauseReason {
    /// Nobody has to do anything for it to go on.
    pub fn ends_by_itself(&self) -> bool {
        match self {
            Self::Frozen { .. } => true,
            Self::Asked { .. }
            | Self::ThinEvidence
            | Self::SharedFault { .. }
            | Self::PartlyRolledBack { .. }
            | Self::DiskFull { .. }
            | Self::WindowClosed => false,
        }
    }
}

/// Why a rollout is being undone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
        /// The first of them.
        first: UnixMillis,
        /// Why the last one was ended, if it did not end by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
    },
    /// A green instance was ended for using more memory than its limit (R55).
    OutOfMemory {
        agent: AgentName,
        at: UnixMillis,
    },
    /// A trigger of the watch (R40 to R44, R90, R91).
    Alarm(Box<Alarm>),
    /// The rollback is rehearsed (R51).
    Drill,
    /// It was begun while nothing could be recorded, for a reason that an earlier controller knew.
    Unrecorded {
        why: String,
    },
    /// It was not done in its window, and the fleet file says `at_end: rollback` (R20).
    WindowClosed {
        window: Millis,
    },
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { by, why } if why.is_empty() => write!(f, "asked by {by}"),
            Self::Operator { by, why } => write!(f, "asked by {by}: {why}"),
            Self::Gate { criteria, why } => write!(f, "{} failed: {why}", criteria.join(", ")),
            Self::CrashLoop { agent, exits, fault: Some(fault), .. } => {
                write!(f, "crash loop (R99): green of {agent} failed {exits} times; the last one {fault}")
            }
            Self::CrashLoop { agent, exits, .. } => {
                write!(f, "crash loop (R99): green of {agent} ended {exits} times by itself")
            }
            Self::OutOfMemory { agent, .. } => {
                write!(f, "out of memory (R55): green of {agent} was ended for using more than its limit")
            }
            Self::Alarm(alarm) => write!(f, "{} ({}): {}", alarm.kind.name(), alarm.kind.requirement(), alarm.why),
            Self::Drill => f.write_str("drill (R51): the rollback is rehearsed"),
            Self::Unrecorded { why } => write!(f, "begun while the journal could not be written: {why}"),
            Self::WindowClosed { window } => write!(f, "window closed (R20): it was not done within {window}"),
        }
    }
}

impl Trigger {
    /// Whether green is what is at fault, so that what it holds is taken from it at once.
    pub(crate) fn blames_green(&self) -> bool {
        match self {
            Self::Operator { .. } | Self::Drill | Self::WindowClosed { .. } => false,
            Self::Alarm(alarm) => !alarm.shared,
            // Why it was begun is lost. What green still holds is given to blue rather than to a suspect.
            Self::Gate { .. } | Self::CrashLoop { .. } | Self::OutOfMemory { .. } | Self::Unrecorded { .. } => true,
        }
    }

    /// When the clock of detection started (R46); none where nobody can know.
    fn harm_began(&self) -> Option<UnixMillis> {
        match self {
            Self::Operator { .. }
            | Self::Gate { .. }
            | Self::Drill
            | Self::Unrecorded { .. }
            | Self::WindowClosed { .. } => None,
            // What never became ready had no traffic to harm.
            Self::CrashLoop { fault: Some(_), .. } => None,
            Self::CrashLoop { first, fault: None, .. } => Some(*first),
            Self::OutOfMemory { at, .. } => Some(*at),
            Self::Alarm(alarm) => Some(alarm.harm_began),
        }
    }
}

/// A part of a rollout that was taken back while the rest goes on. What is in it stays on blue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retreat {
    pub agents: BTreeSet<AgentName>,
    #[serde(flatten)]
    pub record: RollbackRecord,
}

impl Retreat {
    pub fn is_under_way(&self) -> bool {
        self.record.validated.is_none()
    }
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
    /// What began it.
    pub trigger: Trigger,
    /// What came on top while it was under way, or began it again.
    #[serde(default)]
    pub also: Vec<Trigger>,
    /// When the clock of detection started (R46); none where a person decided.
    pub harm_began: Option<UnixMillis>,
    pub began: UnixMillis,
    pub shifted: Option<UnixMillis>,
    pub swapped: Option<UnixMillis>,
    pub validated: Option<UnixMillis>,
    /// Whether blue was checked since it has the traffic, and what the last check found wrong with it.
    #[serde(default)]
    pub checked: bool,
    #[serde(default)]
    pub fault: Option<String>,
}

/// Triggers kept beside the first.
const ALSO_MAX: usize = 32;

impl RollbackRecord {
    /// R46: from the first harm to the decision.
    pub const DETECTION_MAX: Millis = Millis::from_secs(30);
    /// R47: until the last agent's traffic is on blue.
    pub const EXECUTION_MAX: Millis = Millis::from_secs(60);
    /// R48: until blue is seen to work.
    pub const VALIDATION_MAX: Millis = Millis::from_secs(120);
    /// R49: from the first harm to the end. What is not validated by then needs a person.
    pub const END_TO_END_MAX: Millis = Millis::from_secs(210);

    pub(crate) fn new(trigger: Trigger, now: UnixMillis) -> Self {
        Self {
            harm_began: trigger.harm_began(),
            trigger,
            also: Vec::new(),
            began: now,
            shifted: None,
            swapped: None,
            validated: None,
            checked: false,
            fault: None,
        }
    }

    /// A further trigger while it is under way.
    pub(crate) fn add(&mut self, trigger: Trigger) {
        if self.also.len() < ALSO_MAX {
            self.also.push(trigger);
        }
    }

    pub(crate) fn begin_again(&mut self, trigger: Trigger) {
        self.add(trigger);
        (self.shifted, self.swapped, self.checked, self.fault) = (None, None, false, None);
    }

    fn move_along(&mut self, jump: ClockJump) {
        self.began = jump.move_along(self.began);
        for at in [&mut self.harm_began, &mut self.shifted, &mut self.swapped].into_iter().flatten() {
            *at = jump.move_along(*at);
        }
    }

    /// From the first harm to the decision (R46).
    pub fn detection(&self) -> Option<Millis> {
        Some(self.began.since(self.harm_began?))
    }

    /// Until the last agent's traffic is on blue (R47).
    pub fn execution(&self) -> Option<Millis> {
        Some(self.shifted?.since(self.began))
    }

    /// From there until blue is validated (R48).
    pub fn validation(&self) -> Option<Millis> {
        Some(self.validated?.since(self.shifted?))
    }

    /// From the first harm, or from the decision where a person took it, to the end (R49).
    pub fn end_to_end(&self) -> Option<Millis> {
        Some(self.validated?.since(self.harm_began.unwrap_or(self.began)))
    }
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
    /// Parts that were taken back while the rest went on, in the order of their beginning.
    #[serde(default)]
    pub retreats: Vec<Retreat>,
    /// When the wall clock was set while it was under way, in the time that the clock showed afterwards.
    #[serde(default)]
    pub clock_jumps: Vec<(UnixMillis, ClockJump)>,
    /// Disk is held back for undoing it, and traffic may go back to blue unrecorded.
    #[serde(default)]
    pub authorised: bool,
    /// Who lets it go on in freeze windows.
    #[serde(default)]
    pub freeze_override: Option<FreezeOverride>,
    /// When its window closed before it was done.
    #[serde(default)]
    pub window_closed: Option<UnixMillis>,
    /// In the order in which phases asked for one.
    #[serde(default)]
    pub approvals: Vec<ApprovalRecord>,
    /// The rollout that this one tries again, and why.
    #[serde(default)]
    pub again: Option<Again>,
    /// Stages that it has been at, and pauses that held it, counted for [`super::Position`].
    #[serde(default)]
    pub(crate) turns: u32,
    #[serde(default)]
    pub(crate) pauses: u32,
}

/// What a rollout tries once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    pub rollout: RolloutId,
    #[serde(default)]
    pub reason: String,
    /// Where that one stood when whoever asks looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Position>,
}

/// Jumps of the clock kept of one rollout.
const CLOCK_JUMPS_MAX: usize = 32;

impl Rollout {
    pub(crate) fn new(id: RolloutId, by: String, plan: Plan, now: UnixMillis) -> Self {
        Self {
            approvals: Vec::new(),
            again: None,
            turns: 1,
            pauses: 0,
            id,
            by,
            freeze_override: plan.freeze_override.clone(),
            window_closed: None,
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
            retreats: Vec::new(),
            clock_jumps: Vec::new(),
            authorised: false,
        }
    }

    /// What is being timed goes along with the clock, so that the limits of a rollback are measured by time that passed.
    pub(crate) fn clock_jumped(&mut self, now: UnixMillis, jump: ClockJump) {
        if self.state.is_over() {
            return;
        }
        if self.clock_jumps.len() < CLOCK_JUMPS_MAX {
            self.clock_jumps.push((now, jump));
        }
        let parts = self.retreats.iter_mut().map(|retreat| &mut retreat.record);
        for record in parts.chain(&mut self.rollback).filter(|record| record.validated.is_none()) {
            record.move_along(jump);
        }
    }

    /// Agents that stay on blue, because they were taken back while the rest went on.
    pub fn held_back(&self) -> BTreeSet<&AgentName> {
        self.retreats.iter().flat_map(|retreat| &retreat.agents).collect()
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
