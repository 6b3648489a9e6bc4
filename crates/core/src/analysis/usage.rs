//! R33 and R34: memory and CPU, where the unit is the agent: its green level against its own blue baseline.
//!
//! With blue agents beside, green's levels are ranked against blue's drift since the baseline; without, a sign test
//! asks whether most agents are above their limit. Where agents are so few that no test can reject, all of them
//! above the limit is harm: a literal limit then, not a test.

use std::collections::BTreeSet;

use super::{
    Baseline, Finding, Judgement, Window,
    exact::{at_least, critical_count},
    judge::{Draft, Terms},
    rank::{higher, median},
    window::Levels,
    words::{count, number},
};
use crate::id::AgentName;

/// Samples of an agent below this are a glimpse, not a level.
const SAMPLES_MIN: u64 = 3;
/// Blue agents from which on they show the drift.
const BLUE_MIN: usize = 5;
/// Share of green's agents that must have been measured on both sides, in tenths.
const MEASURED_MIN_TENTHS: usize = 8;

pub(super) struct Resource {
    pub(super) id: &'static str,
    pub(super) metric: &'static str,
    pub(super) unit: &'static str,
    /// What one of `unit` is in the measure of `level`.
    pub(super) per_unit: f64,
    /// Of an agent's own past.
    pub(super) ratio: f64,
    /// A rise below this counts as none.
    pub(super) floor: f64,
    pub(super) level: fn(&Levels, u64) -> Option<f64>,
}

/// One agent: its level in the baseline and in the window.
struct Row {
    own: f64,
    now: f64,
}

pub(super) fn judge(
    terms: &Terms<'_>,
    baseline: &Baseline,
    window: &Window,
    green_agents: &BTreeSet<AgentName>,
    resource: &Resource,
) -> Judgement {
    let alpha = terms.alpha(0.10);
    let rows = Rows::new(baseline.window(), window, green_agents, resource.level);
    let draft = Draft::new(resource.id, resource.metric).samples(rows.green.len() as u64);
    let (Some(own), Some(now)) = (median(rows.green.iter().map(|r| r.own)), median(rows.green.iter().map(|r| r.now)))
    else {
        let why = format!("none of green's {} agents was measured before and since", green_agents.len());
        return draft.limit(resource.ratio * 100.0, "% of baseline").open(why);
    };
    let edge = |row: &Row| (row.own * resource.ratio).max(row.own + resource.floor);
    let allowed = median(rows.green.iter().map(edge)).unwrap_or(0.0);
    let draft = draft
        .measured(own / resource.per_unit, now / resource.per_unit)
        .limit(allowed / resource.per_unit, resource.unit);
    if rows.green.iter().all(|row| row.own <= 0.0) || rows.green.iter().all(|row| row.now <= 0.0) {
        return draft.open("every agent reads as zero, so it was not measured");
    }
    // An agent's level as a share of its limit.
    let loads: Vec<f64> = rows.green.iter().map(|row| share(row.now, edge(row))).collect();
    let drift: Vec<f64> = rows.blue.iter().map(|row| share(row.now, row.own)).collect();
    let agents = loads.len() as u64;
    let over = loads.iter().filter(|&&load| load > 1.0).count() as u64;
    let critical = critical_count(agents, 0.5, alpha);
    let most_over = median(loads.iter().copied()).is_some_and(|middle| middle > 1.0);
    let rejected = if drift.len() >= BLUE_MIN {
        most_over && higher(&loads, &drift) <= alpha
    } else {
        critical.is_some_and(|critical| over >= critical)
    };
    let covered = rows.green.len() * 10 >= green_agents.len() * MEASURED_MIN_TENTHS;
    let finding = if alpha > 0.0 && (rejected || (critical.is_none() && over == agents)) {
        Finding::Harm
    } else if alpha > 0.0 && at_least(agents - over, agents, 0.5) <= alpha && covered {
        Finding::Proved
    } else if alpha > 0.0 && covered {
        Finding::NoHarmSeen
    } else {
        Finding::CannotTellYet
    };
    let needed = usize::try_from(critical.unwrap_or(agents)).unwrap_or(usize::MAX);
    let factor = smallest_factor(&loads, needed);
    let smallest = factor.map(|factor| (factor * now - own).max(0.0) / resource.per_unit);
    let unit = resource.unit;
    let why = format!(
        "{} of {} green agents use more {} than they may; the median uses {} {unit}, {} {unit} in its own past; {} of {} were measured",
        count(over),
        count(agents),
        resource.metric,
        number(now / resource.per_unit),
        number(own / resource.per_unit),
        count(agents),
        count(green_agents.len() as u64),
    );
    draft.smallest(smallest).find(terms.gate.require, finding, why)
}

struct Rows {
    green: Vec<Row>,
    /// Agents that are blue in both.
    blue: Vec<Row>,
}

impl Rows {
    fn new(
        before: &Window,
        since: &Window,
        green_agents: &BTreeSet<AgentName>,
        level: fn(&Levels, u64) -> Option<f64>,
    ) -> Self {
        let mut rows = Self { green: Vec::new(), blue: Vec::new() };
        for (agent, sides) in since.levels() {
            let past = before.level(agent);
            let Some(own) =
                past.and_then(|past| level(&past.blue, SAMPLES_MIN).or_else(|| level(&past.green, SAMPLES_MIN)))
            else {
                continue;
            };
            let (side, rows) = if green_agents.contains(agent) {
                (&sides.green, &mut rows.green)
            } else {
                (&sides.blue, &mut rows.blue)
            };
            rows.extend(level(side, SAMPLES_MIN).map(|now| Row { own, now }));
        }
        rows
    }
}

fn share(of: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        of / whole
    } else if of > 0.0 {
        f64::MAX
    } else {
        1.0
    }
}

/// By how much all levels would have had to grow for `needed` agents to be above their limits.
fn smallest_factor(loads: &[f64], needed: usize) -> Option<f64> {
    let mut sorted = loads.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let load = *sorted.get(needed.checked_sub(1)?)?;
    (load > 0.0).then(|| (1.0 / load).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_what_brings_enough_agents_over() {
        assert_eq!(smallest_factor(&[0.5, 0.25, 0.8], 2), Some(2.0));
        assert_eq!(smallest_factor(&[0.5], 2), None);
        assert_eq!(smallest_factor(&[2.0], 1), Some(1.0));
        assert_eq!(smallest_factor(&[], 0), None);
    }
}
