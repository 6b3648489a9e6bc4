//! Where a rollout stood when somebody looked at it: a token that is handed out with what was seen, and handed back
//! with what is asked for. A verb that meant something else by now than when its caller looked is refused.
//!
//! Counters decide, because a rollout can stand at the same stage twice; the stage is for people.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    event::VerbKind,
    state::{RollbackStep, Rollout, State, Step},
};
use crate::id::RolloutId;

/// Opaque to whoever carries it. Written without spaces and quotes, so that it can stand in an entity tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Position {
    rollout: RolloutId,
    stage: String,
    /// Counts the stages that the rollout has been at.
    turn: u32,
    /// The number of the pause that holds it; 0 while none does.
    pause: u32,
    /// Parts that were taken back.
    parts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no position of a rollout; hand back what `position` of the rollout says, as it is")]
pub struct NoPosition;

const STAGE_MAX: usize = 64;

impl Position {
    pub(crate) fn of(rollout: &Rollout) -> Self {
        Self {
            rollout: rollout.id,
            stage: stage(rollout.state),
            turn: rollout.turns,
            pause: if rollout.paused.is_some() { rollout.pauses } else { 0 },
            parts: u32::try_from(rollout.retreats.len()).unwrap_or(u32::MAX),
        }
    }

    /// Whether what was asked for by somebody who saw this still means the same at `now`, where the rollout is in
    /// `state`.
    pub(crate) fn still_means(&self, verb: VerbKind, now: &Self, state: State) -> bool {
        let same_turn = self.rollout == now.rollout && self.turn == now.turn;
        match verb {
            // What holds a rollout up or takes it back is never too late.
            VerbKind::Pause | VerbKind::Rollback => true,
            // Another pause is somebody else's. If none holds, there is nothing to lift.
            VerbKind::Resume => self.rollout == now.rollout && (now.pause == 0 || now.pause == self.pause),
            VerbKind::Promote => {
                // The bake that was seen has ended, and no other has begun.
                let ended =
                    self.rollout == now.rollout && is_judged(state) && self.turn.checked_add(1) == Some(now.turn);
                (same_turn || ended) && self.pause == now.pause
            }
            VerbKind::Commit => same_turn && self.parts == now.parts,
            VerbKind::Retry | VerbKind::Approve | VerbKind::Reject => same_turn,
        }
    }

    /// `phase 2 baking look 1`, for a sentence.
    pub fn words(&self) -> String {
        let paused = if self.pause == 0 { "" } else { ", paused" };
        format!("{}{paused}", self.stage.replace('-', " "))
    }
}

/// Where no rollout stands; of a view that says nothing of it.
impl Default for Position {
    fn default() -> Self {
        Self { rollout: RolloutId::default(), stage: "nowhere".into(), turn: 0, pause: 0, parts: 0 }
    }
}

impl Rollout {
    pub fn position(&self) -> Position {
        Position::of(self)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rollout, stage, turn, pause, parts } = self;
        write!(f, "{rollout}/{stage}/{turn}/{pause}/{parts}")
    }
}

impl FromStr for Position {
    type Err = NoPosition;

    fn from_str(text: &str) -> Result<Self, NoPosition> {
        let parts: Vec<&str> = text.split('/').collect();
        let &[rollout, stage, turn, pause, parts] = parts.as_slice() else { return Err(NoPosition) };
        let known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if stage.is_empty() || stage.len() > STAGE_MAX || !stage.bytes().all(known) {
            return Err(NoPosition);
        }
        let count = |text: &str| text.parse().map_err(|_no_number| NoPosition);
        Ok(Self {
            rollout: RolloutId(rollout.parse().map_err(|_no_number| NoPosition)?),
            stage: stage.to_owned(),
            turn: count(turn)?,
            pause: count(pause)?,
            parts: count(parts)?,
        })
    }
}

impl TryFrom<String> for Position {
    type Error = NoPosition;

    fn try_from(text: String) -> Result<Self, NoPosition> {
        text.parse()
    }
}

impl From<Position> for String {
    fn from(position: Position) -> Self {
        position.to_string()
    }
}

fn is_judged(state: State) -> bool {
    match state {
        State::Progressing { step: Step::Gate { .. }, .. } | State::Validating { judging: true } => true,
        State::Preflight
        | State::Progressing {
            step:
                Step::AwaitingApproval
                | Step::Warming { .. }
                | Step::CuttingOver { .. }
                | Step::Halfway { .. }
                | Step::Baking { .. }
                | Step::Held,
            ..
        }
        | State::Validating { judging: false }
        | State::Completed
        | State::Committed
        | State::RollingBack { .. }
        | State::RolledBack
        | State::NeedsAttention
        | State::PreflightFailed => false,
    }
}

fn stage(state: State) -> String {
    match state {
        State::Preflight => "preflight".into(),
        State::Progressing { phase, step } => {
            let step = match step {
                Step::AwaitingApproval => "awaiting-approval".into(),
                Step::Warming { batch } => format!("warming-batch-{}", batch + 1),
                Step::CuttingOver { batch } => format!("cutting-over-batch-{}", batch + 1),
                Step::Halfway { .. } => "halfway".into(),
                Step::Baking { look } => format!("baking-look-{look}"),
                Step::Gate { look } => format!("judging-look-{look}"),
                Step::Held => "held".into(),
            };
            format!("phase-{}-{step}", phase + 1)
        }
        State::Validating { judging: false } => "validating".into(),
        State::Validating { judging: true } => "judging-the-validation".into(),
        State::Completed => "completed".into(),
        State::Committed => "committed".into(),
        State::RollingBack { step: RollbackStep::Shift } => "rolling-back-traffic".into(),
        State::RollingBack { step: RollbackStep::Swap } => "rolling-back-green".into(),
        State::RollingBack { step: RollbackStep::Validate } => "validating-blue".into(),
        State::RolledBack => "rolled-back".into(),
        State::NeedsAttention => "in-need-of-attention".into(),
        State::PreflightFailed => "preflight-failed".into(),
    }
}
