//! One rollout in full, for `rollout show`.

use bellwether_core::{
    analysis::{Finding, Judgement},
    rollout::{AgentView, RolloutView},
};

use super::{rollback::undone, words::stage};
use crate::wording::{some, wrap};

const WIDTH: usize = 100;
const LABEL: usize = 15;

/// `agents` may be empty: who is in which phase is known of the latest rollout alone.
pub(crate) fn describe(rollout: &RolloutView, agents: &[AgentView]) -> Vec<String> {
    let mut lines = vec![
        format!("rollout {} · release {} · started by {}", rollout.id, rollout.release, rollout.by),
        stage(rollout),
    ];
    if let Some(refused) = &rollout.refused {
        lines.push(format!("the baseline cannot serve: {refused}"));
    }
    for (at, phase) in rollout.phases.iter().enumerate() {
        let names: Vec<&str> =
            agents.iter().filter(|agent| agent.phase == Some(at)).map(|agent| agent.name.as_str()).collect();
        for (i, line) in wrap(&names.join(", "), WIDTH - LABEL - 2).into_iter().enumerate() {
            lines.push(format!("  {:<LABEL$}{line}", if i == 0 { phase.name.as_str() } else { "" }));
        }
    }
    let records =
        rollout.phases.iter().map(|phase| (phase.name.as_str(), phase.agents_cumulative, phase.record.as_ref()));
    let validation =
        rollout.validation.iter().map(|record| (record.name.as_str(), record.agents_cumulative, Some(record)));
    for (name, agents, record) in records.chain(validation) {
        let Some(record) = record else {
            lines.push(format!("  {name:<14} {agents:>5} agents  not begun"));
            continue;
        };
        let took =
            record.ended.map_or_else(|| "under way".to_owned(), |ended| format!("took {}", ended.since(record.began)));
        lines.push(format!("  {name:<14} {agents:>5} agents  {took}"));
        for judgement in record.report.iter().flat_map(|report| &report.judgements) {
            lines.push(format!("      {:<4} {:<18} {}", judgement.id, finding(judgement), judgement.why));
        }
    }
    for part in &rollout.retreats {
        lines.push(format!("taken back: {}", some(part.agents.iter().map(|agent| agent.as_str()), 6)));
        lines.extend(undone(&part.record).into_iter().map(|line| format!("  {line}")));
    }
    if let Some(rollback) = &rollout.rollback {
        lines.push("rollback".to_owned());
        lines.extend(undone(rollback).into_iter().map(|line| format!("  {line}")));
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
