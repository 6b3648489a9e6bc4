//! What a request means where a rollout stands, and what would come of it.

use std::collections::BTreeSet;

use bellwether_core::{
    id::{AgentName, Side},
    rollout::{PauseReason, Preview, RolloutView, Seated, Shift, State, Step, VerbKind},
    time::Millis,
};

use super::words::stage;
use crate::wording::{counted, some, wrap};

const WIDTH: usize = 100;
/// So many agents are named; `--output json` names all.
const NAMES: usize = 8;

/// What whoever asks means, in the words of where the rollout stands.
pub(crate) fn intent(verb: VerbKind, rollout: &RolloutView) -> &'static str {
    match verb {
        VerbKind::Pause => "to be held before the next cutover",
        VerbKind::Resume => "to go on",
        VerbKind::Promote => match (rollout.state, &rollout.paused) {
            (State::Progressing { step: Step::Held | Step::Halfway { .. }, .. }, _)
            | (State::Validating { judging: false }, Some(PauseReason::ThinEvidence)) => "to go on without a verdict",
            (_, _) => "to judge now what is there",
        },
        VerbKind::Retry => match rollout.state {
            State::RolledBack | State::PreflightFailed => "to start the same release again, as a new rollout",
            State::NeedsAttention => "to try its rollback again",
            State::Preflight
            | State::Progressing { .. }
            | State::Validating { .. }
            | State::Completed
            | State::Committed
            | State::RollingBack { .. } => "to start at once the greens that wait for another try",
        },
        VerbKind::Approve => "to let the phase begin",
        VerbKind::Reject => "to go back instead",
        VerbKind::Rollback => "to go back to blue",
        VerbKind::Commit => "to give up blue",
    }
}

/// The answer to a dry run.
pub(crate) fn preview(preview: &Preview) -> Vec<String> {
    let Preview { before, after, blind, moves, follows, starts, stops, freezes, thaws, judges, undo } = preview;
    let mut lines = vec!["This is what would happen; nothing was changed.".to_owned()];
    lines.extend(stands(before.as_ref(), after.as_ref()));
    let mut say = |text: String| {
        let wrapped = wrap(&text, WIDTH - 2);
        lines.extend(wrapped.into_iter().map(|line| format!("  {line}")));
    };
    if let Some(window) = judges {
        say(format!("{window} would be judged, on what was seen so far"));
    }
    for side in [Side::Blue, Side::Green] {
        let to = |shifts: &[Shift]| names(shifts.iter().filter(|shift| shift.to == side).map(|shift| &shift.agent));
        if let Some(agents) = to(moves) {
            say(format!("traffic would move to {side} at once: {agents}"));
        }
        if let Some(agents) = to(follows) {
            say(format!("traffic would follow to {side}, once an instance is ready for it: {agents}"));
        }
        let on = |seats: &[Seated]| names(seats.iter().filter(|seat| seat.side == side).map(|seat| &seat.agent));
        let deeds = [(starts, "started"), (thaws, "thawed"), (freezes, "frozen"), (stops, "ended")];
        for (seats, deed) in deeds {
            if let Some(agents) = on(seats) {
                say(format!("{side} would be {deed}: {agents}"));
            }
        }
    }
    match undo {
        Some(Millis::ZERO) => say("nothing was touched, so there is nothing to undo".to_owned()),
        Some(undo) => say(format!("by the plan, all of this traffic is on blue within {undo}")),
        None => {}
    }
    if *blind {
        say("the controller has just started and looks at the world first; what it does to instances follows that"
            .to_owned());
    }
    if lines.len() == 1 {
        lines.push("It is so already: nothing would change.".to_owned());
    }
    lines
}

fn stands(before: Option<&RolloutView>, after: Option<&RolloutView>) -> Option<String> {
    let after = after?;
    match before.filter(|before| before.id == after.id) {
        None => Some(format!("rollout {} of release {} would begin: {}", after.id, after.release, stage(after))),
        Some(before) if stage(before) != stage(after) => {
            Some(format!("rollout {}: {}  →  {}", after.id, stage(before), stage(after)))
        }
        Some(_) => None,
    }
}

/// How many agents, and their names; none where there are none.
fn names<'n>(agents: impl Iterator<Item = &'n AgentName>) -> Option<String> {
    let agents: BTreeSet<&AgentName> = agents.collect();
    let count = counted(agents.len(), "agent", "agents");
    (!agents.is_empty()).then(|| format!("{count}, {}", some(agents.iter().map(|agent| agent.as_str()), NAMES)))
}
