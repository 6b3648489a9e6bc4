//! What the gates said before.

use bellwether_core::analysis::{Finding, GateReport, Judgement, Verdict};

use super::super::{
    document::{Block, Cell, Table, Tone},
    facts::Facts,
};

pub(super) fn blocks(facts: &Facts) -> Vec<Block> {
    let phases = facts.rollout.phases.iter().chain(&facts.rollout.validation);
    let judged: Vec<Block> =
        phases.filter_map(|phase| Some(gate(phase.name.as_str(), phase.report.as_ref()?))).collect();
    if judged.is_empty() {
        vec![Block::Text("No gate had judged before the rollback began.".to_owned())]
    } else {
        judged
    }
}

fn gate(phase: &str, report: &GateReport) -> Block {
    let verdict = match report.verdict() {
        Verdict::Pass => "passed",
        Verdict::Fail => "failed",
        Verdict::Inconclusive => "could not tell",
    };
    Block::Fold {
        title: format!("{phase}: {verdict}, on records up to number {}", report.last_second),
        blocks: vec![table(report.judgements.iter())],
    }
}

pub(super) fn table<'a>(judgements: impl Iterator<Item = &'a Judgement>) -> Block {
    let mut table = Table::new(&["Criterion", "Finding", "In words"]);
    for judgement in judgements {
        let (finding, tone) = match judgement.finding {
            Finding::Harm => ("harm", Tone::Bad),
            Finding::Proved => ("proved", Tone::Good),
            Finding::NoHarmSeen => ("no harm seen", Tone::Good),
            Finding::CannotTellYet => ("cannot tell yet", Tone::Open),
        };
        table.rows.push(vec![
            Cell::text(format!("{} {}", judgement.id, judgement.metric)),
            Cell::toned(finding, tone),
            Cell::text(&judgement.why),
        ]);
    }
    Block::Table(table)
}
