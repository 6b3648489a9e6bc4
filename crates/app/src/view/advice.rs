//! What a person should do now, in at most three sentences, for every state that a rollout can be in.

use bellwether_core::{
    rollout::{PauseReason, RollbackRecord, RolloutView, State, Step, Trigger},
    spec::Approval,
    watch::AlarmKind,
};

use super::{why::evidence, words::clock};
use crate::wording::some;

/// The most urgent first.
pub(crate) fn advice(rollout: &RolloutView) -> Vec<String> {
    let id = rollout.id;
    let back = format!("`bellwether rollout rollback {id}` takes everything back to blue, at any time.");
    let waits = !rollout.state.is_over() && rollout.state != State::Completed;
    if let Some(paused) = rollout.paused.as_ref().filter(|_| waits) {
        return held(rollout, paused);
    }
    match rollout.state {
        State::Preflight => vec![
            match rollout.stage_left {
                Some(left) => format!("Wait: the baseline is being measured, for another {left}. Nothing was touched."),
                None => "Wait: the baseline is being looked at. Nothing was touched.".to_owned(),
            },
            "Leave the machine as it is until then: what runs beside the fleet now is measured with it.".to_owned(),
        ],
        State::Progressing { phase, step } => {
            let name = rollout.phases.get(phase).map_or("?", |phase| phase.name.as_str());
            let first = match step {
                Step::AwaitingApproval => return approval(rollout, phase),
                Step::Warming { .. } => {
                    format!("Wait: green is being started for phase {name}; blue still has the traffic.")
                }
                Step::CuttingOver { .. } => format!("Wait: agents of phase {name} are moving to green."),
                Step::Halfway { .. } | Step::Baking { .. } => match rollout.stage_left {
                    Some(left) => format!("Wait: phase {name} bakes for another {left} before it is judged."),
                    None => format!("Wait: phase {name} bakes before it is judged."),
                },
                Step::Gate { .. } => format!("Wait: what phase {name} showed is being judged."),
                Step::Held => {
                    format!("Decide: phase {name} was judged and waits. `bellwether rollout resume {id}` goes on.")
                }
            };
            vec![first, format!("`bellwether rollout watch {id}` follows it; `promote` ends a bake early."), back]
        }
        State::Validating { .. } => vec!["Wait: all agents are on green, and are judged once more.".to_owned(), back],
        State::Completed => {
            let window = match (&rollout.paused, rollout.stage_left) {
                (Some(PauseReason::Frozen { name, ends, .. }), _) => format!(" until the freeze {name:?} ends, {ends}"),
                (_, Some(left)) => format!(", for another {left}"),
                (_, None) => String::new(),
            };
            vec![
                format!("Look at what your users see: all agents are on green, and blue is held{window}."),
                format!(
                    "If it is well, `bellwether rollout commit {id}` gives up blue and frees its memory; if not, \
                     `bellwether rollout rollback {id}` goes back."
                ),
            ]
        }
        State::Committed => {
            vec!["Do nothing: the rollout is committed. The way back is a rollout of the earlier revision.".to_owned()]
        }
        State::RollingBack { .. } => rolling_back(rollout),
        State::RolledBack => rolled_back(rollout),
        State::NeedsAttention => attention(rollout),
        State::PreflightFailed => vec![
            format!(
                "Nothing was touched: the baseline cannot serve, as {}.",
                rollout.refused.as_deref().unwrap_or("nothing was measured")
            ),
            format!(
                "Mend that (`bellwether check` looks at traffic and agents); then `bellwether rollout retry {}` starts it \
                 again.",
                rollout.id
            ),
        ],
    }
}

fn approval(rollout: &RolloutView, phase: usize) -> Vec<String> {
    let id = rollout.id;
    let (name, approval) =
        rollout.phases.get(phase).map_or(("?", Approval::Required), |p| (p.name.as_str(), p.approval));
    let whom = match approval {
        Approval::Other => format!("somebody else than {}, who started it,", rollout.by),
        Approval::None | Approval::Required => "somebody".to_owned(),
    };
    vec![
        format!("Decide: {whom} has to approve phase {name} before it begins. Nothing of it was touched."),
        format!("`bellwether approve {id}` lets it begin, `bellwether reject {id}` takes back what has moved so far."),
        format!("`bellwether approve {id} --dry-run` shows first what would happen."),
    ]
}

fn held(rollout: &RolloutView, paused: &PauseReason) -> Vec<String> {
    let id = rollout.id;
    let on_or_back = format!("`bellwether rollout resume {id}` goes on, `bellwether rollout rollback {id}` goes back.");
    match paused {
        PauseReason::Asked { by, why } => {
            let why = if why.is_empty() { String::new() } else { format!(" (\"{why}\")") };
            vec![format!("Ask {by}, who paused it{why}, whether it may go on."), on_or_back]
        }
        PauseReason::ThinEvidence => vec![
            "Decide: there was too little traffic to tell. Read below what \"cannot tell yet\" rests on.".to_owned(),
            format!("`bellwether rollout promote {id}` goes on without a verdict; `resume` bakes once more."),
            format!("`bellwether rollout rollback {id}` goes back."),
        ],
        PauseReason::SharedFault { why } => vec![
            format!("Mend first what blue and green share: {why}."),
            "`bellwether check` looks at the model server and the machine.".to_owned(),
            on_or_back,
        ],
        PauseReason::DiskFull { why } => vec![
            format!("Make room on the disk of the state directory: {why}."),
            format!("Then `bellwether rollout resume {id}` goes on; it holds room for the way back again first."),
            format!("`bellwether rollout rollback {id}` goes back now: what that needs was held back."),
        ],
        PauseReason::Frozen { name, ends, .. } => vec![
            format!("Wait: it is frozen by {name:?} until {ends}, and goes on by itself then."),
            format!(
                "If it cannot wait, `bellwether rollout resume {id} --override-freeze REASON` goes on; who did and why is \
                 kept."
            ),
            format!("`bellwether rollout rollback {id}` takes everything back to blue, at any time."),
        ],
        PauseReason::WindowClosed => vec![
            "Decide: its window closed before it was done. What is on green is still judged.".to_owned(),
            format!("`bellwether rollout resume {id}` goes on past the window, with no other end set to it."),
            format!("`bellwether rollout rollback {id}` goes back."),
        ],
        PauseReason::PartlyRolledBack { why } => {
            let gone: Vec<&str> =
                rollout.retreats.iter().flat_map(|part| &part.agents).map(|agent| agent.as_str()).collect();
            vec![
                format!("Decide about the rest: {} went back to blue, because {why}.", some(gone.iter().copied(), 4)),
                format!(
                    "`bellwether rollout resume {id}` goes on without them, `bellwether rollout rollback {id}` goes back."
                ),
                format!("The evidence is in {}.", evidence(rollout).join(", ")),
            ]
        }
    }
}

fn rolling_back(rollout: &RolloutView) -> Vec<String> {
    let shifted = rollout.rollback.as_ref().and_then(|record| record.shifted);
    let first = match shifted {
        Some(at) => {
            format!("Do nothing: all traffic has been on blue since {}; green ends and blue is validated.", clock(at))
        }
        None => "Do nothing: traffic is going back to blue; requests wait where no instance is ready.".to_owned(),
    };
    let mut lines = vec![first];
    if let Some(fault) = rollout.rollback.as_ref().and_then(|record| record.fault.as_ref()) {
        lines.push(format!("Look at blue, which is not well: {fault}."));
    }
    lines
        .push(format!("`bellwether rollout watch {}` tells how it ends, within three and a half minutes.", rollout.id));
    lines
}

fn rolled_back(rollout: &RolloutView) -> Vec<String> {
    if rollout.drill {
        return vec!["Do nothing: the rollback was rehearsed, and all agents are on blue.".to_owned()];
    }
    let at = rollout.rollback.as_ref().and_then(|record| record.validated);
    let at = at.map_or(String::new(), |at| format!(", which was validated at {}", clock(at)));
    let mut lines = vec![format!("Nothing is urgent: all agents are on blue{at}.")];
    let Some(record) = &rollout.rollback else { return lines };
    lines.push(format!(
        "Read the evidence in {}; begin with index.html. {}",
        evidence(rollout).join(", "),
        look(record)
    ));
    match &record.trigger {
        Trigger::Operator { .. } | Trigger::Drill => {}
        Trigger::Unrecorded { .. } => {
            lines.push("Make room on the disk of the state directory, then start again.".to_owned());
        }
        Trigger::WindowClosed { .. } => {
            lines
                .push("Start again with a longer window (rollout.window), or where bakes are not extended.".to_owned());
        }
        Trigger::Alarm(alarm) if alarm.shared => lines.push(format!(
            "Mend that, and start again: blue suffered as well, so release {} need not be at fault.",
            rollout.release
        )),
        Trigger::Alarm(_) | Trigger::Gate { .. } | Trigger::CrashLoop { .. } | Trigger::OutOfMemory { .. } => lines
            .push(format!(
                "Correct release {}, rehearse it with `bellwether drill`, and start again.",
                rollout.release
            )),
    }
    lines
}

fn attention(rollout: &RolloutView) -> Vec<String> {
    let id = rollout.id;
    let record = rollout.rollback.as_ref();
    let first = match (record.and_then(|record| record.shifted), record.and_then(|record| record.fault.as_ref())) {
        (None, Some(fault)) => format!("Act now: not all traffic is back on blue, and {fault}."),
        (None, None) => "Act now: not all traffic is back on blue; some blues do not become ready.".to_owned(),
        (Some(_), Some(fault)) => format!("Act now: traffic is on blue, and blue is not well: {fault}."),
        (Some(_), None) => "Act now: traffic is on blue, and not every blue is ready.".to_owned(),
    };
    vec![
        first,
        "Mend that: `bellwether check` looks at model server, machine and agents; their logs are in logs/ of the state \
         directory."
            .to_owned(),
        format!("Then `bellwether rollout retry {id}` tries again; until then no other rollout can begin."),
    ]
}

/// Where to look first, by what fired.
fn look(record: &RollbackRecord) -> String {
    match &record.trigger {
        Trigger::Operator { by, .. } => format!("{by} asked for it."),
        Trigger::Gate { criteria, .. } => format!("{} did not hold at a gate.", criteria.join(", ")),
        Trigger::CrashLoop { agent, fault: Some(fault), .. } => {
            format!("Look at the log of green's {agent}: it {fault}.")
        }
        Trigger::CrashLoop { agent, .. } => format!("Look at the log of green's {agent}: it ended by itself."),
        Trigger::OutOfMemory { agent, .. } => format!("Look for a leak in green's {agent}."),
        Trigger::Drill => String::new(),
        Trigger::Unrecorded { .. } => {
            "What fired is in logs/controller.log; the journal had no room for it.".to_owned()
        }
        Trigger::WindowClosed { .. } => "It was not done when its window closed.".to_owned(),
        Trigger::Alarm(alarm) => {
            let agents = some(alarm.agents.iter().map(|agent| agent.as_str()), 3);
            let whom = if agents.is_empty() { "green".to_owned() } else { format!("green's {agents}") };
            match alarm.kind {
                AlarmKind::Memory => format!("Look for a leak in {whom}."),
                AlarmKind::Cpu => format!("Look for what keeps {whom} busy."),
                AlarmKind::Errors | AlarmKind::FailureStreak => format!("Look at the logs of {whom} for what failed."),
                AlarmKind::Latency => format!("Look for what makes {whom} slow."),
                AlarmKind::ModelServer => "Look at the model server: calls did not reach it.".to_owned(),
                AlarmKind::BreakerTrips => format!("Look at the model calls of {whom}, which failed in a row."),
                AlarmKind::Health => format!("Look at the health endpoint of {whom}."),
                AlarmKind::NoProgress => format!("Look for where {whom} hangs: it was alive and did nothing."),
            }
        }
    }
}
