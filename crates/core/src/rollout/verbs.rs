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
    /// Greens in their back-off are tried at once.
    TryGreens,
    /// The same release from the beginning, as a rollout of its own.
    StartAgain,
    Approve,
    Reject,
    /// It is so already.
    Nothing,
    /// Not possible; the text says what is.
    Refuse(&'static str),
}

pub(crate) fn effect(state: State, paused: Option<&PauseReason>, verb: VerbKind) -> Effect {
    use Effect::{
        Approve, Commit, GoOn, JudgeNow, Nothing, Pause, Refuse, Reject, Resume, Rollback, StartAgain, TryGreens,
    };
    const OVER: &str = "the rollout is over; start a new one with `bellwether rollout start`";
    const UNDOING: &str = "the rollout is being undone; wait for it with `bellwether rollout watch`";
    const NOT_WAITING: &str = "no phase waits for an approval; `rollback` takes everything back";
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
        (State::Progressing { step: Step::AwaitingApproval, .. }, VerbKind::Promote) => {
            Refuse("there is no bake to end: the phase waits for an approval; `approve` lets it begin")
        }
        (State::Preflight, VerbKind::Promote) => {
            Refuse("there is no bake to end: the baseline is being measured; promote once a phase bakes")
        }
        (
            State::Preflight | State::Progressing { .. } | State::Validating { .. } | State::Completed,
            VerbKind::Rollback,
        ) => Rollback,
        (State::RollingBack { .. } | State::RolledBack, VerbKind::Rollback) => Nothing,
        (State::NeedsAttention, VerbKind::Rollback | VerbKind::Retry) => Rollback,
        (State::Progressing { .. } | State::Validating { .. } | State::Completed, VerbKind::Retry) => TryGreens,
        (State::RolledBack | State::PreflightFailed, VerbKind::Retry) => StartAgain,
        (State::Preflight, VerbKind::Retry) => {
            Refuse("nothing has failed: the baseline is being measured; wait for it with `bellwether rollout watch`")
        }
        (State::Progressing { step: Step::AwaitingApproval, .. }, VerbKind::Approve) => Approve,
        (State::Progressing { step: Step::AwaitingApproval, .. }, VerbKind::Reject) => Reject,
        (
            State::Preflight
            | State::Progressing {
                step:
                    Step::Warming { .. }
                    | Step::CuttingOver { .. }
                    | Step::Halfway { .. }
                    | Step::Baking { .. }
                    | Step::Gate { .. }
                    | Step::Held,
                ..
            }
            | State::Validating { .. },
            VerbKind::Approve | VerbKind::Reject,
        ) => Refuse(NOT_WAITING),
        (State::Committed, VerbKind::Rollback) => {
            Refuse("blue was given up at the commit; release the earlier revision as a new rollout instead")
        }
        (State::PreflightFailed, VerbKind::Rollback) => Refuse("nothing was changed, so there is nothing to undo"),
        (State::Completed, VerbKind::Commit) => Commit,
        (State::Committed, VerbKind::Commit) => Nothing,
        (State::Preflight | State::Progressing { .. } | State::Validating { .. }, VerbKind::Commit) => {
            Refuse("a rollout can be committed once it is completed")
        }
        (
            State::Completed,
            VerbKind::Pause | VerbKind::Resume | VerbKind::Promote | VerbKind::Approve | VerbKind::Reject,
        ) => Refuse("all phases are done; `commit` gives up blue, `rollback` goes back to it"),
        (
            State::RollingBack { step: RollbackStep::Shift | RollbackStep::Swap | RollbackStep::Validate },
            VerbKind::Pause
            | VerbKind::Resume
            | VerbKind::Promote
            | VerbKind::Retry
            | VerbKind::Approve
            | VerbKind::Reject
            | VerbKind::Commit,
        ) => Refuse(UNDOING),
        (
            State::NeedsAttention,
            VerbKind::Pause
            | VerbKind::Resume
            | VerbKind::Promote
            | VerbKind::Approve
            | VerbKind::Reject
            | VerbKind::Commit,
        ) => Refuse("the rollback did not come to its end; `retry` tries again"),
        (
            State::RolledBack | State::PreflightFailed,
            VerbKind::Pause
            | VerbKind::Resume
            | VerbKind::Promote
            | VerbKind::Approve
            | VerbKind::Reject
            | VerbKind::Commit,
        ) => Refuse("the rollout is over; `retry` starts the same release again, `bellwether rollout start` another"),
        (
            State::Committed,
            VerbKind::Pause
            | VerbKind::Resume
            | VerbKind::Promote
            | VerbKind::Retry
            | VerbKind::Approve
            | VerbKind::Reject,
        ) => Refuse(OVER),
    }
}
