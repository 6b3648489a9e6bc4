//! What an operator may ask for in which state. The table is total: a new state or verb does not compile
//! until each pair has an answer.

use super::{
    event::VerbKind,
    state::{PauseReason, RollbackStep, State, Step},
};

/// What a verb does to a rollout that stands in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Pause,
    Resume,
    /// End the bake or the validation and judge what is there.
    JudgeNow,
    /// Go on without a verdict: a person decided.
    GoOn,
    Rollback,
    Commit,
    /// It is so already.
    Nothing,
    /// Not possible; the text says what is.
    Refuse(&'static str),
}

pub(crate) fn effect(state: State, paused: Option<&PauseReason>, verb: VerbKind) -> Effect {
    use Effect::{Commit, GoOn, JudgeNow, Nothing, Pause, Refuse, Resume, Rollback};
    const OVER: &str = "the rollout is over; start a new one with `bellwether rollout start`";
    const UNDOING: &str = "the rollout is being undone; wait for it with `bellwether rollout watch`";
    match (state, verb) {
        (State::Preflight | State::Progressing { .. } | State::Validating { .. }, VerbKind::Pause) => {
            if paused.is_none_or(PauseReason::ends_by_itself) { Pause } else { Nothing }
        }
        (State::Preflight | State::Progressing { .. } | State::Validating { .. }, VerbKind::Resume) => {
            if paused.is_some() { Resume } else { Nothing }
        }
        (State::Validating { judging: false }, VerbKind::Promote) => {
            if paused == Some(&PauseReason::ThinEvidence) {
                GoOn
            } else {
                JudgeNow
            }
        }
        (State::Progressing { step: Step::Baking { .. }, .. }, VerbKind::Promote) => JudgeNow,
        (State::Progressing { step: Step::Halfway { .. } | Step::Held, .. }, VerbKind::Promote) => GoOn,
        (
            State::Progressing { step: Step::Gate { .. }, .. } | State::Validating { judging: true },
            VerbKind::Promote,
        ) => Nothing,
        (State::Progressing { step: Step::Warming { .. } | Step::CuttingOver { .. }, .. }, VerbKind::Promote) => {
            Refuse("there is no bake to end: agents are being cut over; promote once the phase bakes")
        }
        (State::Preflight, VerbKind::Promote) => {
            Refuse("there is no bake to end: the baseline is being measured; promote once a phase bakes")
        }
        (
            State::Preflight | State::Progressing { .. } | State::Validating { .. } | State::Completed,
            VerbKind::Rollback,
        ) => Rollback,
        (State::RollingBack { .. } | State::RolledBack, VerbKind::Rollback) => Nothing,
        (State::NeedsAttention, VerbKind::Rollback) => Rollback,
        (State::Committed, VerbKind::Rollback) => {
            Refuse("blue was given up at the commit; release the earlier revision as a new rollout instead")
        }
        (State::PreflightFailed, VerbKind::Rollback) => Refuse("nothing was changed, so there is nothing to undo"),
        (State::Completed, VerbKind::Commit) => Commit,
        (State::Committed, VerbKind::Commit) => Nothing,
        (State::Preflight | State::Progressing { .. } | State::Validating { .. }, VerbKind::Commit) => {
            Refuse("a rollout can be committed once it is completed")
        }
        (State::Completed, VerbKind::Pause | VerbKind::Resume | VerbKind::Promote) => {
            Refuse("all phases are done; `commit` gives up blue, `rollback` goes back to it")
        }
        (
            State::RollingBack { step: RollbackStep::Shift | RollbackStep::Swap | RollbackStep::Validate },
            VerbKind::Pause | VerbKind::Resume | VerbKind::Promote | VerbKind::Commit,
        ) => Refuse(UNDOING),
        (State::NeedsAttention, VerbKind::Pause | VerbKind::Resume | VerbKind::Promote | VerbKind::Commit) => {
            Refuse("the rollback did not come to its end; `rollback` tries again")
        }
        (
            State::Committed | State::RolledBack | State::PreflightFailed,
            VerbKind::Pause | VerbKind::Resume | VerbKind::Promote,
        )
        | (State::RolledBack | State::PreflightFailed, VerbKind::Commit) => Refuse(OVER),
    }
}
