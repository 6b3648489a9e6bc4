//! The top of the page: what happened, how it stands, and what to do first.

use std::collections::BTreeSet;

use bellwether_core::{
    id::Side,
    rollout::{AgentView, Event, State, Trigger},
    watch::AlarmKind,
};

use super::super::{
    document::Tone,
    facts::Facts,
    words::{clock, date, names, plural, seconds},
};

const NAMES_MAX: usize = 5;

/// How the rollback, or the taking back of a part, stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    UnderWay,
    Done,
    Stuck,
}

pub(super) fn stand(facts: &Facts) -> Stand {
    if facts.record.validated.is_some() {
        Stand::Done
    } else if facts.rollout.state == State::NeedsAttention {
        Stand::Stuck
    } else {
        Stand::UnderWay
    }
}

pub(super) fn title(facts: &Facts) -> String {
    let (id, release) = (facts.rollout.id, &facts.rollout.plan.release);
    let what = match facts.retreat {
        None => format!("Rollout {id} to {release}"),
        Some(_) => format!("Part of rollout {id} to {release}"),
    };
    match (stand(facts), facts.retreat) {
        (Stand::Stuck, _) => format!("The rollback of rollout {id} to {release} needs a person"),
        (Stand::UnderWay, None) => format!("{what} is being rolled back"),
        (Stand::Done, None) => format!("{what} was rolled back"),
        (Stand::UnderWay, Some(_)) => format!("{what} is being taken back"),
        (Stand::Done, Some(_)) => format!("{what} was taken back; the rest stands where it stood"),
    }
}

pub(super) fn state(facts: &Facts) -> (Tone, String) {
    match stand(facts) {
        Stand::UnderWay => (Tone::Open, "under way".into()),
        Stand::Done => (Tone::Good, "done: blue serves and was found healthy".into()),
        Stand::Stuck => (Tone::Bad, "needs attention".into()),
    }
}

pub(super) fn lead(facts: &Facts) -> Vec<String> {
    let record = &facts.record;
    let why = record.trigger.to_string();
    let mut lead = vec![format!("Why: {}.", why.trim_end_matches('.')), decided(facts), traffic(facts)];
    if let Some(fault) = record.fault.as_ref().filter(|_| stand(facts) != Stand::Done) {
        lead.push(format!("What stands against blue: {}.", fault.trim_end_matches('.')));
    }
    let revoked = revoked(facts);
    if revoked > 0 {
        let work = plural(usize::try_from(revoked).unwrap_or(usize::MAX), "piece of work", "pieces of work");
        lead.push(format!(
            "Green still held {work} (tasks, requests, model calls) when it was ended; what was a task went back to the queue."
        ));
    }
    lead
}

/// When and where it began, and how fast it went from there.
fn decided(facts: &Facts) -> String {
    let record = &facts.record;
    let mut text = format!("Decided on {} UTC {}", date(record.began), stage(facts));
    if let Some(detection) = record.detection() {
        text.push_str(&format!(", {} after the harm began", seconds(detection)));
    }
    if let Some(execution) = record.execution() {
        text.push_str(&format!("; all traffic was on blue {} later", seconds(execution)));
    }
    if let Some(validated) = record.validated {
        text.push_str(&format!(
            ", and blue was validated {} after the decision",
            seconds(validated.since(record.began))
        ));
    }
    text.push('.');
    text
}

/// Where in the rollout it began.
fn stage(facts: &Facts) -> String {
    let (rollout, began) = (&facts.rollout, facts.record.began);
    if rollout.validation.as_ref().is_some_and(|validation| validation.began <= began) {
        return "after the last phase".to_owned();
    }
    let begun = rollout.phases.iter().take_while(|phase| phase.began <= began).count();
    match begun.checked_sub(1).and_then(|last| rollout.phases.get(last)) {
        Some(phase) => format!("in phase {begun} of {} ({})", rollout.plan.phases.len(), phase.name),
        None => "before the first phase".to_owned(),
    }
}

fn traffic(facts: &Facts) -> String {
    let concerned = facts.concerned();
    let all = plural(concerned.len(), "agent", "agents");
    let blue = blue_names(facts);
    let not_on_blue = facts.not_on_blue();
    if not_on_blue.is_empty() {
        return match facts.record.validated {
            Some(validated) => {
                format!(
                    "Each of {all} has a ready blue ({blue}) and its traffic; validated at {} UTC.",
                    clock(validated)
                )
            }
            None => format!("Each of {all} has a ready blue ({blue}) with the traffic; it is being checked."),
        };
    }
    let on_green = concerned.iter().filter(|agent| facts.is_green(agent)).count();
    let waiting: Vec<_> = not_on_blue.iter().filter(|agent| !facts.is_green(agent)).map(|agent| &agent.name).collect();
    let mut text = format!("Of {all}, {} are on a ready blue ({blue})", concerned.len() - not_on_blue.len());
    if on_green > 0 {
        text.push_str(&format!(", {on_green} are still on green"));
    }
    if !waiting.is_empty() {
        text.push_str(&format!(", {} without a ready blue: {}", waiting.len(), names(&waiting, NAMES_MAX)));
    }
    text.push('.');
    text
}

/// The names of the revisions that it goes back to.
fn blue_names(facts: &Facts) -> String {
    let plan = &facts.rollout.plan;
    let names: BTreeSet<String> = plan
        .agents()
        .filter_map(|planned| plan.revisions.get(&planned.from))
        .map(|revision| revision.name.to_string())
        .collect();
    match names.into_iter().collect::<Vec<_>>().as_slice() {
        [] => "as before".to_owned(),
        few => super::super::words::names(few, NAMES_MAX),
    }
}

/// What greens held when their drain was cut short.
fn revoked(facts: &Facts) -> u64 {
    let since = facts.slice.entries.iter().filter(|entry| entry.at >= facts.record.began);
    since
        .filter_map(|entry| match &entry.event {
            Event::Empty { instance, revoked } => facts
                .roster
                .get(instance)
                .is_some_and(|member| member.side == Side::Green && member.enrolled >= facts.rollout.started)
                .then_some(*revoked),
            _ => None,
        })
        .sum()
}

pub(super) fn steps(facts: &Facts) -> Vec<String> {
    let id = facts.rollout.id;
    let mut steps = match stand(facts) {
        Stand::UnderWay => vec![format!(
            "Nothing yet: it goes on by itself and has until {} UTC. Follow it with `bellwether rollout watch {id}`. This page is written again when it is over.",
            clock(facts.record.began + bellwether_core::rollout::RollbackRecord::END_TO_END_MAX)
        )],
        Stand::Done if facts.rollout.plan.drill => {
            vec!["Nothing: this was a rehearsal, and the times below are what a rollback takes here.".to_owned()]
        }
        Stand::Done => vec!["Nothing is urgent: blue has the traffic and was checked.".to_owned()],
        Stand::Stuck => vec![stuck(facts)],
    };
    steps.extend(look_at(facts));
    if stand(facts) == Stand::Stuck {
        steps.push(format!("Then take the rollback up again with `bellwether rollout rollback {id}`: it checks blue once more. Until then no other rollout can start."));
    }
    if stand(facts) == Stand::Done && !facts.rollout.plan.drill {
        steps.push(match facts.retreat {
            None => "When it is mended, give the release another name and look at what it would do: `bellwether plan --release FILE`, then `bellwether rollout start --release FILE`.".to_owned(),
            Some(_) => format!("The rest of the rollout has to be decided: `bellwether rollout show {id} --why`, then `bellwether rollout resume {id}` or `bellwether rollout rollback {id}`."),
        });
    }
    steps
}

fn stuck(facts: &Facts) -> String {
    let not_on_blue = facts.not_on_blue();
    if not_on_blue.is_empty() {
        return "Act now: all traffic is on blue, but blue does not work as it should. Going back did not mend it, so look for what both sides share: the model server, memory, the network.".to_owned();
    }
    let which: Vec<_> = not_on_blue.iter().map(|agent| &agent.name).collect();
    let read = |agent: &AgentView| facts.tails.iter().any(|tail| tail.member.agent == agent.name);
    let where_why = if not_on_blue.iter().any(|agent| read(agent)) {
        "The last log lines, below, say why it does not start"
    } else {
        "Why it does not start should be in the state directory's `logs`"
    };
    format!("Act now: bring back the blue of {}. {where_why}.", names(&which, NAMES_MAX))
}

/// Where the cause is likely to be found.
fn look_at(facts: &Facts) -> Option<String> {
    Some(match &facts.record.trigger {
        Trigger::Alarm(alarm) if alarm.shared => format!(
            "Blue suffered as well, so green need not be at fault. Check first what they share ({}): `bellwether check`.",
            match alarm.kind {
                AlarmKind::ModelServer => "the model server",
                AlarmKind::Memory | AlarmKind::Cpu => "this machine's memory and CPU",
                AlarmKind::Errors
                | AlarmKind::FailureStreak
                | AlarmKind::Latency
                | AlarmKind::BreakerTrips
                | AlarmKind::Health
                | AlarmKind::NoProgress => "the model server, memory, CPU",
            }
        ),
        Trigger::Alarm(alarm) => match alarm.kind {
            AlarmKind::Memory => "To find the cause: see below which agents' green grew, and whether it grows without end or only needs a higher limit.".to_owned(),
            AlarmKind::Cpu => "To find the cause: see below which agents' green used the CPU, and what their last log lines say they did.".to_owned(),
            AlarmKind::Errors | AlarmKind::FailureStreak => "To find the cause: read the last log lines of the greens below, then compare what the release changes.".to_owned(),
            AlarmKind::Latency => "To find the cause: compare time per task with model calls below. If the calls are as fast as blue's, green itself is slower.".to_owned(),
            AlarmKind::ModelServer => "To find the cause: look at the model server first: does it run, does it answer, did it load the model? `bellwether check` asks it.".to_owned(),
            AlarmKind::BreakerTrips => "To find the cause: see below which agents' model calls failed until the breaker opened; model and prompt of the release are the first suspects.".to_owned(),
            AlarmKind::Health => "To find the cause: see below what the health checks got for an answer, and what green logged at that time.".to_owned(),
            AlarmKind::NoProgress => "To find the cause: green took work and then showed no sign of it, heartbeats or not. Its last log line says how far it came.".to_owned(),
        },
        Trigger::Gate { .. } => "To find the cause: the gate's findings below name the criteria and the numbers.".to_owned(),
        Trigger::CrashLoop { agent, .. } => format!("To find the cause: read how the greens of {agent} ended, below: the last log lines and the exits in the journal."),
        Trigger::OutOfMemory { agent, .. } => format!("To find the cause: compare the memory of {agent} with its limit below. Give it more, or find out what it keeps."),
        Trigger::Operator { by, .. } => format!("Nothing fired: {by} decided. What the figures showed at that time is below."),
        Trigger::Unrecorded { .. } => "To find the cause: the disk was full, so what fired is not in the journal; look for it in logs/controller.log of that time, and in the figures below.".to_owned(),
        Trigger::WindowClosed { .. } => "Nothing fired: the rollout was not done when its window closed, and the fleet file says to go back then. See above what took longer than planned.".to_owned(),
        Trigger::Drill => return None,
    })
}
