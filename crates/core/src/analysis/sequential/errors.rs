//! Evidence that green fails more often than blue by more than the margin (ANALYSIS §2).
//!
//! Errors are counted as onsets, because they cluster: outcomes whose predecessor was good, and those of them that
//! failed. Where a phase is too thin for the first test, universal inference takes half of the phase's evidence.

use std::collections::BTreeMap;

use super::{
    super::{Tally, exact::real},
    line::Line,
    ripr::{Arms, Bet, risen},
    roster::Roster,
    universal::{self, Universal},
};
use crate::{id::AgentName, time::UnixMillis};

/// A baseline without errors is worth one error in this many outcomes more.
const PRIOR_OUTCOMES: f64 = 500.0;
const PRIOR_MAX: f64 = 2000.0;
const RATE_MIN: f64 = 1e-4;
const RATE_MAX: f64 = 0.5;
/// Not all of a phase's greens have been heard of when it is asked whether it is thin.
const SHARE_MIN: f64 = 0.1;

pub(super) struct Errors {
    margin: f64,
    base_rate: f64,
    /// In a phase, taken to be as long as the baseline.
    expected_calls: f64,
    ln_needed: f64,
    kinds: Vec<Blue>,
    line: Line<7>,
    universal: Vec<Universal>,
    /// Decided with the first outcomes of green in a phase.
    thin: Option<bool>,
}

/// Blue's error rate in a type: what is believed beforehand, and what was seen.
#[derive(Clone)]
struct Blue {
    onsets: f64,
    trials: f64,
    rate: f64,
}

impl Errors {
    /// `ln_needed` is the evidence at which the errors alone would act.
    pub(super) fn new(margin: f64, ln_needed: f64, roster: &Roster, past: &BTreeMap<AgentName, Tally>) -> Self {
        let mut sums = vec![(0.0, 0.0); roster.kinds()];
        let mut expected_calls = 0.0;
        for member in roster.members() {
            if let Some(tally) = past.get(&member.name) {
                sums[member.kind].0 += real(tally.errors());
                sums[member.kind].1 += real(tally.outcomes());
                expected_calls += real(tally.outcomes());
            }
        }
        let base_rate = base_rate(past);
        let kinds = sums.iter().map(|(errors, outcomes)| Blue::new(base_rate, *errors, *outcomes)).collect();
        Self {
            margin: if margin.is_finite() { margin.clamp(0.0, 0.4) } else { 0.0 },
            base_rate,
            expected_calls,
            ln_needed,
            kinds,
            line: Line::new(roster.kinds()),
            universal: vec![Universal::default(); roster.kinds()],
            thin: None,
        }
    }

    pub(super) fn line(&self) -> &Line<7> {
        &self.line
    }

    pub(super) fn margin(&self) -> f64 {
        self.margin
    }

    /// Blue's rate in a type; that of the whole baseline in a type that is not there.
    pub(super) fn rate(&self, kind: usize) -> f64 {
        self.kinds.get(kind).map_or(self.base_rate, |blue| blue.rate)
    }

    pub(super) fn phase(&mut self) {
        self.line.phase();
        self.universal.iter_mut().for_each(|universal| *universal = Universal::default());
        self.thin = None;
    }

    pub(super) fn moved(&mut self, kind: usize) {
        self.line.moved(kind);
    }

    /// Sets blue's rates to what was seen so far.
    pub(super) fn refresh(&mut self) {
        self.kinds.iter_mut().for_each(Blue::refresh);
        self.line.refresh();
    }

    pub(super) fn take(&mut self, at: UnixMillis, outcomes: &BTreeMap<usize, Arms>, roster: &Roster) {
        let (margin, kinds) = (self.margin, &self.kinds);
        let taken = self.line.take(
            at,
            outcomes,
            |kind| roster.share(kind),
            |kind, share| {
                let rate = kinds.get(kind)?.rate;
                Some(risen(rate, margin).map(|to| Bet::new(share, rate, margin, to)))
            },
        );
        if taken.iter().any(|kind| outcomes[kind].green > 0) {
            let share = roster.share_of_all().max(SHARE_MIN);
            let thin = || universal::too_thin(self.base_rate, margin, share, self.expected_calls, self.ln_needed);
            self.thin.get_or_insert_with(thin);
        }
        if self.thin == Some(true) {
            let margin = universal::margin(margin, self.base_rate);
            for kind in taken {
                let universal = &mut self.universal[kind];
                universal.add(&outcomes[&kind], self.kinds[kind].rate, margin);
                self.line.ledger.set_second(kind, &universal.ln(margin));
            }
        }
        for (&kind, arms) in outcomes {
            if let Some(blue) = self.kinds.get_mut(kind) {
                blue.onsets += real(arms.blue_hits);
                blue.trials += real(arms.blue);
            }
        }
    }
}

impl Blue {
    fn new(base_rate: f64, errors: f64, outcomes: f64) -> Self {
        let rate = (errors + PRIOR_OUTCOMES * base_rate) / (outcomes + PRIOR_OUTCOMES);
        let trials = (outcomes + PRIOR_OUTCOMES).min(PRIOR_MAX);
        let mut blue = Self { onsets: rate * trials, trials, rate };
        blue.refresh();
        blue
    }

    fn refresh(&mut self) {
        self.rate = (self.onsets / self.trials).clamp(RATE_MIN, RATE_MAX);
    }
}

/// The error rate of the whole baseline, never quite nothing.
pub(super) fn base_rate(past: &BTreeMap<AgentName, Tally>) -> f64 {
    let sum = |count: fn(&Tally) -> u64| past.values().map(|tally| real(count(tally))).sum::<f64>();
    ((sum(Tally::errors) + 1.0) / (sum(Tally::outcomes) + PRIOR_OUTCOMES)).min(RATE_MAX)
}
