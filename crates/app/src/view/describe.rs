//! One rollout in full, for `rollout show`.

use bellwether_core::{
    analysis::{Finding, Judgement},
    rollout::RolloutView,
};

use super::words::{stage, trigger};

pub(crate) fn describe(rollout: &RolloutView) -> Vec<String> {
    let mut lines = vec![
        format!("rollout {} · release {} · started by {}", rollout.id, rollout.release, rollout.by),
        stage(rollout),
    ];
    if let Some(refused) = &rollout.refused {
        lines.push(format!("the baseline cannot serve: {refused}"));
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
    if let Some(rollback) = &rollout.rollback {
        lines.push(format!("rollback: {}", trigger(&rollback.trigger)));
        let steps = [
            ("traffic on blue", rollback.shifted),
            ("green ended", rollback.swapped),
            ("blue validated", rollback.validated),
        ];
        for (step, at) in steps {
            let at = at.map_or_else(|| "not yet".to_owned(), |at| format!("after {}", at.since(rollback.began)));
            lines.push(format!("  {step:<16} {at}"));
        }
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
