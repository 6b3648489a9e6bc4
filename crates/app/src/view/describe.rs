//! One rollout in full, for `rollout show`.

use bellwether_core::{
    analysis::{Finding, Judgement},
    rollout::{Again, AgentView, ApprovalRecord, Consent, Is, PhaseRecord, RolloutView},
};

use super::{
    limits::limits,
    rollback::undone,
    words::{clock, stage},
};
use crate::wording::{counted, some, wrap};

const WIDTH: usize = 100;
/// Where what is said of a phase begins.
const LABEL: usize = 16;
/// Where the sentence of a criterion begins.
const SENTENCE: usize = 28;

/// `agents` may be empty: who is in which phase is known of the latest rollout alone.
pub(crate) fn describe(rollout: &RolloutView, agents: &[AgentView]) -> Vec<String> {
    let kind = if rollout.drill { "drill" } else { "release" };
    let mut lines = vec![
        format!("rollout {} · {kind} {} · started by {}", rollout.id, rollout.release, rollout.by),
        stage(rollout),
    ];
    lines.extend(limits(rollout));
    lines.extend(rollout.again.iter().map(tries_again));
    if let Some(refused) = &rollout.refused {
        lines.push(format!("the baseline cannot serve: {refused}"));
    }
    for (at, phase) in rollout.phases.iter().enumerate() {
        let moves = counted(phase.agents, "agent", "agents");
        let text = format!("{moves}, {} on green then: {}", phase.agents_cumulative, took(phase.record.as_ref()));
        lines.extend(labelled(phase.name.as_str(), &text));
        lines.extend(phase.approved.iter().flat_map(|record| labelled("", &approval(rollout, record))));
        let names = agents.iter().filter(|agent| agent.phase == Some(at)).map(|agent| agent.name.as_str());
        lines.extend(labelled("", &names.collect::<Vec<_>>().join(", ")));
        lines.extend(agents.iter().filter(|agent| agent.phase == Some(at)).flat_map(waited_for));
        lines.extend(judged(phase.record.as_ref()));
    }
    if let Some(record) = &rollout.validation {
        lines.extend(labelled(record.name.as_str(), &took(Some(record))));
        lines.extend(judged(Some(record)));
    }
    for part in &rollout.retreats {
        lines.extend(labelled("held on blue", &some(part.agents.iter().map(|agent| agent.as_str()), 6)));
        lines.extend(undone(&part.record).iter().flat_map(|line| labelled("", line)));
    }
    if let Some(rollback) = &rollout.rollback {
        for (i, line) in undone(rollback).iter().enumerate() {
            lines.extend(labelled(if i == 0 { "rolled back" } else { "" }, line));
        }
    }
    if rollout.rollback.is_some() || !rollout.retreats.is_empty() || rollout.paused.is_some() {
        lines.push(format!("`bellwether rollout show {} --why` says what to do now, and why", rollout.id));
    }
    lines
}

pub(crate) fn finding(judgement: &Judgement) -> &'static str {
    match judgement.finding {
        Finding::Harm => "harm",
        Finding::Proved => "proved",
        Finding::NoHarmSeen => "no harm seen",
        Finding::CannotTellYet => "cannot tell yet",
    }
}

/// What a green has yet to show before it gets traffic.
fn waited_for(agent: &AgentView) -> Vec<String> {
    let Some(green) = &agent.green else { return Vec::new() };
    let waits = match (green.is, &green.fault) {
        (Is::Enrolling { .. } | Is::Starting { .. }, None) => "starts".to_owned(),
        (Is::Enrolling { .. } | Is::Starting { .. }, Some(fault)) => format!("starts again; the one before {fault}"),
        (Is::Proving { .. }, None) => "has to answer a synthetic task".to_owned(),
        (Is::Proving { .. }, Some(fault)) => format!("{fault}; it is given another"),
        (Is::Stopping { failed: true, .. } | Is::BackOff, Some(fault)) => format!("is replaced: it {fault}"),
        (Is::Stopping { failed: true, .. } | Is::BackOff, None) => "ended by itself, and is replaced".to_owned(),
        (
            Is::Empty
            | Is::Ready { .. }
            | Is::Freezing { .. }
            | Is::Frozen { .. }
            | Is::Thawing { .. }
            | Is::Stopping { failed: false, .. },
            _,
        ) => return Vec::new(),
    };
    labelled("", &format!("green of {} {waits}", agent.name))
}

/// Which rollout it tries again, and why.
pub(super) fn tries_again(again: &Again) -> String {
    let why = if again.reason.is_empty() { String::new() } else { format!(": {}", again.reason) };
    format!("tries rollout {} again{why}", again.rollout)
}

/// Who let the phase begin, or that nobody has yet.
fn approval(rollout: &RolloutView, record: &ApprovalRecord) -> String {
    match &record.given {
        Some(Consent { by, why, at }) => {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            format!("approved by {by} at {}{why}", clock(*at))
        }
        None if rollout.rollback.is_some() => "was not approved".to_owned(),
        None => format!("waits for an approval since {}", clock(record.asked)),
    }
}

fn took(record: Option<&PhaseRecord>) -> String {
    match record {
        None => "not begun".to_owned(),
        Some(record) => match record.ended {
            Some(ended) => format!("took {}", ended.since(record.began)),
            None => "under way".to_owned(),
        },
    }
}

fn judged(record: Option<&PhaseRecord>) -> Vec<String> {
    let judgements = record.and_then(|record| record.report.as_ref()).map(|report| report.judgements.as_slice());
    let mut lines = Vec::new();
    for judgement in judgements.unwrap_or_default() {
        for (i, line) in wrap(&judgement.why, WIDTH - SENTENCE).into_iter().enumerate() {
            let (id, found) = if i == 0 { (judgement.id.as_str(), finding(judgement)) } else { ("", "") };
            lines.push(format!("      {id:<5}{found:<17}{line}"));
        }
    }
    lines
}

/// A name, and text beside it that stays beside it. Nothing where there is no text.
fn labelled(label: &str, text: &str) -> Vec<String> {
    let lines = wrap(text, WIDTH - LABEL).into_iter().enumerate();
    lines.map(|(i, line)| format!("  {:<width$}{line}", if i == 0 { label } else { "" }, width = LABEL - 2)).collect()
}
