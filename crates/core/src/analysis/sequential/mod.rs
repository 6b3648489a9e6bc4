//! Evidence against green that is valid at every look (ANALYSIS §2, §3): errors and latency, over all phases.
//!
//! Each line of evidence is an e-process: as long as green is no worse than blue by more than its margin, its mean is
//! at most 1 at whatever moment one looks, so it passes 1 ÷ α with a chance of at most α. Lines are weighed and
//! added up, which is valid however they depend on each other. No clock, no chance: the same records give the
//! same evidence. What each number is for is in `docs/analysis.md`.

mod blame;
mod errors;
mod latency;
mod ledger;
mod line;
mod pace;
mod past;
mod ripr;
mod roster;
#[cfg(test)]
mod sim;
mod spread;
mod streak;
#[cfg(test)]
mod tests;
mod universal;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Baseline,
    exact::{at_least, real},
};
use crate::{
    id::{AgentName, AgentType, ModelName, Side},
    observation::{Cell, Second},
    time::UnixMillis,
};
use blame::Sentence;
use errors::Errors;
use latency::{Latency, QUANTILES};
use ledger::ln_mix;
use line::Line;
use ripr::Arms;
use roster::Roster;
use streak::Bursts;

/// Quantiles of the response time that are tested.
const LINES: usize = 3;
/// Parts of the level: errors, and latency at each quantile. ANALYSIS §3b gives the severe lines, which compare with the
/// baseline and only pause, 0.2 of it; half of that pays for the 90th percentile, which sees a threefold slowness soonest.
const ERRORS: f64 = 0.5;
const LATENCIES: [f64; LINES] = [0.15, 0.1, 0.15];
/// Seconds between two looks at what blue does.
const REFRESH: u64 = 10;
const ALPHA_MIN: f64 = 1e-9;
/// Green's own outcomes carry evidence if so many bad ones would come with no more than this chance at blue's rate.
const CARRIED: f64 = 0.005;

pub struct SequentialSetup<'a> {
    pub agents: &'a [(AgentName, AgentType, ModelName)],
    /// δ of the error test.
    pub error_margin: f64,
    /// ρ of the latency test; none switches it off.
    pub latency_ratio: Option<f64>,
    /// Evidence at which a rollout is rolled back: 1/α in all.
    pub alpha: f64,
    pub baseline: &'a Baseline,
}

/// Running evidence against green. Memory grows with the fleet, never with time.
pub struct Sequential {
    alpha: f64,
    roster: Roster,
    errors: Errors,
    latency: Option<Latency>,
    bursts: Bursts,
    /// The last record that was taken.
    last: Option<u64>,
    refreshed: u64,
    at: UnixMillis,
}

/// Harm that the evidence shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Harm {
    pub metric: Metric,
    /// Odds against "green is no worse", and those at which it acts.
    pub odds: f64,
    pub threshold: f64,
    /// Outcomes and harmful ones of green and of blue since the phase began: onsets of errors, or slow ones.
    pub green: (u64, u64),
    pub blue: (u64, u64),
    pub agents: Vec<AgentName>,
    pub types: Vec<AgentType>,
    /// The first harmful outcome of green in the evidence.
    pub began: UnixMillis,
    /// One plain sentence with the numbers.
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    Errors,
    /// At this quantile.
    Latency(f64),
}

impl Sequential {
    pub fn new(setup: &SequentialSetup<'_>) -> Self {
        let alpha = if setup.alpha.is_finite() { setup.alpha.clamp(ALPHA_MIN, 1.0) } else { ALPHA_MIN };
        let past = past::tallies(setup.baseline);
        let base_rate = errors::base_rate(&past);
        let mut known = BTreeSet::new();
        let agents: Vec<_> = setup.agents.iter().filter(|(name, ..)| known.insert(name)).cloned().collect();
        let roster = Roster::new(&agents, &past, base_rate);
        let latency = setup
            .latency_ratio
            .filter(|ratio| ratio.is_finite())
            .map(|ratio| Latency::new(ratio, &roster, pace::paces(&agents, &past), &past));
        let outcomes = past.values().fold(0, |sum: u64, tally| sum.saturating_add(tally.outcomes()));
        // One alternative of seven, in the half of the fleet, in the half of the phase.
        let ln_needed = (1.0 / alpha / ERRORS * 2.0 * 2.0 * 7.0).ln();
        Self {
            alpha,
            errors: Errors::new(setup.error_margin, ln_needed, &roster, &past),
            latency,
            bursts: Bursts::new(base_rate, outcomes),
            roster,
            last: None,
            refreshed: 0,
            at: UnixMillis(0),
        }
    }

    /// Takes a closed second; records up to the last number seen are ignored.
    pub fn second(&mut self, second: &Second) {
        if self.last.is_some_and(|last| second.number <= last) {
            return;
        }
        if self.last.is_none() || second.number - self.refreshed >= REFRESH {
            self.errors.refresh();
            self.latency.iter_mut().for_each(Latency::refresh);
            self.refreshed = second.number;
        }
        (self.last, self.at) = (Some(second.number), second.at);
        let cells: Vec<(usize, &Cell)> =
            second.cells.iter().filter_map(|cell| Some((self.roster.find(&cell.agent)?, cell))).collect();
        for kind in self.roster.learn_sides(&cells, |kind| self.errors.rate(kind)) {
            self.errors.moved(kind);
            self.latency.iter_mut().for_each(|latency| latency.moved(kind));
        }
        let outcomes = self.onsets(&cells);
        self.errors.take(second.at, &outcomes, &self.roster);
        if let Some(latency) = &mut self.latency {
            latency.take(second.at, &cells, &mut self.roster);
        }
    }

    /// A phase begins: evidence of late onset starts afresh beside that of the whole.
    pub fn phase(&mut self) {
        self.roster.phase();
        self.errors.phase();
        self.latency.iter_mut().for_each(Latency::phase);
    }

    /// What the evidence shows now, if it passes its threshold.
    pub fn harm(&self) -> Option<Harm> {
        let mut parts = vec![(ERRORS, self.told_by(self.errors.line(), self.errors.margin()))];
        if let Some(latency) = &self.latency {
            let lines = LATENCIES.iter().enumerate();
            parts.extend(lines.map(|(line, &weight)| (weight, self.told_by(latency.line(line), 0.0))));
        }
        let ln = ln_mix(&parts);
        if ln < -self.alpha.ln() {
            return None;
        }
        let weighed = parts.iter().map(|(weight, ln)| weight.ln() + ln);
        let (most, _) = weighed.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        // Larger odds than a double can hold are told as the largest.
        let odds = ln.exp().min(f64::MAX);
        Some(match (most.checked_sub(1), &self.latency) {
            (Some(line), Some(latency)) => self.slowness(latency, line, odds),
            _ => self.failing(odds),
        })
    }

    /// The evidence of a line, as far as green's own outcomes carry it. A green that ends nothing leaves blue's half of the
    /// bets alone in the account, and whatever that adds up to, it is not that green fails or is slow. To leave
    /// evidence out never makes a false alarm more likely.
    fn told_by<const J: usize>(&self, line: &Line<J>, margin: f64) -> f64 {
        let blamed = self.blamed(|kind| line.ledger.ln_of(kind));
        let carries = |arms: &Arms| {
            let usual = (real(arms.blue_hits) + 0.5) / (real(arms.blue) + 1.0) + margin;
            arms.green_hits > 0 && at_least(arms.green_hits, arms.green, usual.min(1.0)) <= CARRIED
        };
        let carried = [line.since_phase(&[]), line.since_phase(&blamed)].iter().any(carries);
        if carried { line.ledger.ln() } else { f64::NEG_INFINITY }
    }

    /// More failures of one agent in a row than this do not happen by chance (ANALYSIS §3.4).
    pub fn streak_max(&self) -> u64 {
        self.bursts.streak_max()
    }

    /// Onsets and the outcomes in which there could have been one, by type; and how blue's bursts went on.
    fn onsets(&mut self, cells: &[(usize, &Cell)]) -> BTreeMap<usize, Arms> {
        let mut outcomes: BTreeMap<usize, Arms> = BTreeMap::new();
        for &(member, cell) in cells {
            let (trials, onsets) = (cell.signs.trials, cell.signs.onsets.min(cell.signs.trials));
            if cell.drawn == Side::Blue {
                let (all, failed) = all_and_failed(cell);
                self.bursts.blue(all.saturating_sub(trials), failed.saturating_sub(onsets));
            }
            if trials == 0 {
                continue;
            }
            self.roster.errors(member, cell.drawn, trials, onsets);
            if self.roster.compares(member, cell.drawn) {
                let arms = match cell.drawn {
                    Side::Blue => Arms { blue: trials, blue_hits: onsets, ..Arms::default() },
                    Side::Green => Arms { green: trials, green_hits: onsets, ..Arms::default() },
                };
                outcomes.entry(self.roster.kind_of(member)).or_default().add(&arms);
            }
        }
        outcomes
    }

    fn failing(&self, odds: f64) -> Harm {
        let line = self.errors.line();
        let kinds = self.blamed(|kind| line.ledger.ln_of(kind));
        let rate = |kind| self.errors.rate(kind) + self.errors.margin();
        let agents = blame::agents(&self.roster, &kinds, |member| member.errors, rate, false);
        let told = (Metric::Errors, self.errors.margin());
        self.harm_of(told, odds, (line.since_phase(&kinds), line.began(&kinds)), &kinds, agents)
    }

    fn slowness(&self, latency: &Latency, index: usize, odds: f64) -> Harm {
        let line = latency.line(index);
        let kinds = self.blamed(|kind| line.ledger.ln_of(kind));
        let rate = |kind| latency.rate(kind, index).unwrap_or(1.0);
        let agents = blame::agents(&self.roster, &kinds, |member| member.slow[index], rate, true);
        let told = (Metric::Latency(QUANTILES[index]), latency.ratio());
        self.harm_of(told, odds, (line.since_phase(&kinds), line.began(&kinds)), &kinds, agents)
    }

    fn blamed(&self, ln_of: impl Fn(usize) -> f64) -> Vec<usize> {
        let lns: Vec<f64> = (0..self.roster.kinds()).map(ln_of).collect();
        blame::types(&lns, self.alpha)
    }

    fn harm_of(
        &self,
        (metric, margin): (Metric, f64),
        odds: f64,
        (arms, began): (Arms, Option<UnixMillis>),
        kinds: &[usize],
        agents: Vec<AgentName>,
    ) -> Harm {
        let types: Vec<AgentType> = kinds.iter().filter_map(|&kind| self.roster.kind_name(kind).cloned()).collect();
        let threshold = 1.0 / self.alpha;
        Harm {
            metric,
            odds,
            threshold,
            green: (arms.green, arms.green_hits),
            blue: (arms.blue, arms.blue_hits),
            agents,
            began: began.unwrap_or(self.at),
            why: Sentence { metric, margin, arms, types: &types, odds, threshold }.tell(),
            types,
        }
    }
}

fn all_and_failed(cell: &Cell) -> (u64, u64) {
    let failed = cell.tasks.failed.saturating_add(cell.tasks.lost_leases).saturating_add(cell.pushes.failed);
    (cell.tasks.completed.saturating_add(cell.pushes.succeeded).saturating_add(failed), failed)
}
