//! What came of many runs, in figures.

use std::collections::BTreeMap;

use bellwether_core::{
    plan::{Plan, Standby},
    time::Millis,
};
use serde::Serialize;

use super::{Back, Ending, Run, Spent};

#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub runs: usize,
    pub endings: BTreeMap<Ending, usize>,
    /// Why runs ended otherwise than completed, the most frequent first.
    pub reasons: Vec<(Ending, String, usize)>,
    /// Of the runs that completed.
    pub duration: Option<Spread>,
    /// Ways back: how long until it was decided (R46), until all traffic was on blue (R47), until that was validated
    /// (R48), and all of it (R49).
    pub ways_back: usize,
    pub detection: Option<Spread>,
    pub execution: Option<Spread>,
    pub validation: Option<Spread>,
    pub end_to_end: Option<Spread>,
    pub memory_peak_bytes: u64,
    pub memory_ceiling_bytes: u64,
    /// Phases, with what their time went to: means over the runs that entered them.
    pub phases: Vec<Phase>,
    /// The same for what belongs to no phase.
    pub around: Vec<(Spent, Millis)>,
    pub tasks: u64,
    pub tasks_failed: u64,
    pub tasks_refused: u64,
    pub leases_lost: u64,
    /// The longest sum over agents of the time without a ready instance.
    pub unavailable_max: Millis,
    pub crashes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    pub count: usize,
    pub p5: Millis,
    pub p50: Millis,
    pub p95: Millis,
    pub max: Millis,
}

#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    pub name: String,
    pub agents: usize,
    pub batches: usize,
    /// Runs that entered it.
    pub entered: usize,
    pub spent: Vec<(Spent, Millis)>,
    /// The most memory that one of its batches is planned to need.
    pub memory_peak_bytes: u64,
    /// Blues that cannot stay warm, because there is no room for them beside green.
    pub not_warm: usize,
}

impl Phase {
    /// What took the most of it.
    pub fn limit(&self) -> Option<(Spent, Millis)> {
        self.spent.iter().copied().max_by_key(|(_, span)| *span)
    }
}

impl Spread {
    /// None of nothing.
    pub fn of(mut spans: Vec<Millis>) -> Option<Self> {
        spans.sort_unstable();
        let last = spans.len().checked_sub(1)?;
        let at = |percent: usize| spans[(last * percent).div_ceil(100)];
        Some(Self { count: spans.len(), p5: at(5), p50: at(50), p95: at(95), max: spans[last] })
    }
}

pub fn summarise(runs: &[Run], plan: &Plan) -> Summary {
    let mut endings = BTreeMap::new();
    let mut reasons: BTreeMap<(Ending, String), usize> = BTreeMap::new();
    for run in runs {
        *endings.entry(run.ending).or_default() += 1;
        if let Some(why) = &run.why {
            *reasons.entry((run.ending, why.clone())).or_default() += 1;
        }
    }
    let mut reasons: Vec<_> = reasons.into_iter().map(|((ending, why), count)| (ending, why, count)).collect();
    reasons.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    let backs: Vec<Back> = runs.iter().filter_map(|run| run.back).collect();
    let spread = |span: fn(&Back) -> Option<Millis>| Spread::of(backs.iter().filter_map(span).collect());
    let completed = runs.iter().filter(|run| run.ending == Ending::Completed).map(|run| run.took);
    Summary {
        runs: runs.len(),
        endings,
        reasons,
        duration: Spread::of(completed.collect()),
        ways_back: backs.len(),
        detection: spread(|back| back.detection),
        execution: spread(|back| back.execution),
        validation: spread(|back| back.validation),
        end_to_end: spread(|back| back.end_to_end),
        memory_peak_bytes: runs.iter().map(|run| run.memory_peak_bytes).max().unwrap_or(0),
        memory_ceiling_bytes: plan.budget.ceiling_bytes,
        phases: plan.phases.iter().enumerate().map(|(at, _)| phase(runs, plan, at)).collect(),
        around: means(runs, None).1,
        tasks: runs.iter().map(|run| run.tasks).sum(),
        tasks_failed: runs.iter().map(|run| run.tasks_failed).sum(),
        tasks_refused: runs.iter().map(|run| run.tasks_refused).sum(),
        leases_lost: runs.iter().map(|run| run.leases_lost).sum(),
        unavailable_max: runs.iter().map(|run| run.unavailable).max().unwrap_or(Millis::ZERO),
        crashes: runs.iter().map(|run| run.crashes).sum(),
    }
}

fn phase(runs: &[Run], plan: &Plan, at: usize) -> Phase {
    let planned = &plan.phases[at];
    let (entered, spent) = means(runs, Some(at));
    let agents = || planned.batches.iter().flat_map(|batch| &batch.agents);
    Phase {
        name: planned.name.to_string(),
        agents: agents().count(),
        batches: planned.batches.len(),
        entered,
        spent,
        memory_peak_bytes: planned.batches.iter().map(|batch| batch.memory_peak_bytes).max().unwrap_or(0),
        not_warm: agents().filter(|planned| planned.standby != Standby::Warm).count(),
    }
}

/// How many runs spent time there, and on what, on average over those.
fn means(runs: &[Run], phase: Option<usize>) -> (usize, Vec<(Spent, Millis)>) {
    let mut sums: BTreeMap<Spent, u64> = BTreeMap::new();
    let mut entered = 0;
    for run in runs {
        let there = || run.spent.iter().filter(|(of, _, _)| *of == phase);
        entered += usize::from(there().next().is_some());
        for (_, spent, span) in there() {
            *sums.entry(*spent).or_default() += span.0;
        }
    }
    let mean = |sum: u64| Millis(sum / (entered.max(1) as u64));
    (entered, sums.into_iter().map(|(spent, sum)| (spent, mean(sum))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        let spread = |spans: &[u64]| Spread::of(spans.iter().map(|&ms| Millis(ms)).collect());
        assert_eq!(spread(&[]), None);
        let of_one = spread(&[7]).unwrap();
        assert_eq!((of_one.p5, of_one.p50, of_one.p95, of_one.max), (Millis(7), Millis(7), Millis(7), Millis(7)));
        let hundred: Vec<u64> = (0..=100).rev().collect();
        let of_many = spread(&hundred).unwrap();
        assert_eq!(
            (of_many.p5, of_many.p50, of_many.p95, of_many.max),
            (Millis(5), Millis(50), Millis(95), Millis(100))
        );
    }
}
