//! Who green is compared with: blue doing the same kind of work, weighed as green's work is.
//!
//! Agents of different types differ in speed and in errors, and a phase moves whole types at once, so pooled
//! sides differ without any harm (ANALYSIS §3.1 found up to 100 % false alarms). Each type is a stratum; blue's
//! strata are weighed by green's shares. Which control a stratum gets depends on sample sizes alone, never on
//! outcomes, so that choosing costs no level.

use super::{
    Tally, Window,
    exact::{Standardised, Stratum, real},
};
use crate::id::Side;

/// Concurrent blue outcomes from which on the baseline is not looked at.
const CONCURRENT_ENOUGH: u64 = 100;
/// Strata whose control is thinner than this are merged.
const THIN: u64 = 20;

/// Green's work and its control, stratum by stratum.
pub(super) struct Matched {
    pairs: Vec<Pair>,
}

pub(super) struct Pair {
    pub(super) green: Tally,
    pub(super) control: Tally,
    green_size: u64,
    control_size: u64,
    /// The control is the baseline: it happened before, and the world may have drifted since.
    past: bool,
}

impl Matched {
    /// Matches by type. `size` says what a sample is. Without `concurrent` only the baseline is a control.
    pub(super) fn new(baseline: &Window, phase: &Window, concurrent: bool, size: impl Fn(&Tally) -> u64) -> Self {
        let choose = |blue: Tally, past: Tally| {
            let (now, then) = (if concurrent { size(&blue) } else { 0 }, size(&past));
            if now >= CONCURRENT_ENOUGH || now > then { (blue, now, false) } else { (past, then, true) }
        };
        let before = baseline.by_type();
        let mut pairs = Vec::new();
        let mut rest = Tally::default();
        for (agent_type, sides) in phase.by_type() {
            let green_size = size(&sides.green);
            if green_size == 0 {
                continue;
            }
            let mut past = Tally::default();
            if let Some(sides) = before.get(agent_type) {
                past.add(&sides.blue);
                past.add(&sides.green);
            }
            let (control, control_size, past) = choose(sides.blue, past);
            if control_size < THIN {
                rest.add(&sides.green);
            } else {
                pairs.push(Pair { green: sides.green, control, green_size, control_size, past });
            }
        }
        let green_size = size(&rest);
        if green_size > 0 {
            let (control, control_size, past) = choose(phase.tally(Side::Blue), baseline.total());
            pairs.push(Pair { green: rest, control, green_size, control_size, past });
        }
        Self { pairs }
    }

    pub(super) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    pub(super) fn green(&self) -> Tally {
        sum(self.pairs.iter().map(|pair| &pair.green))
    }

    pub(super) fn control(&self) -> Tally {
        sum(self.pairs.iter().map(|pair| &pair.control))
    }

    /// The control's share of `hits` among its samples, weighed as green's work is. `hits` gets the index of the pair
    /// too. `None` where a stratum has no control at all, or green has no work.
    pub(super) fn standardised(&self, hits: impl Fn(usize, &Tally) -> u64) -> Option<Standardised> {
        let green: f64 = self.pairs.iter().map(|pair| real(pair.green_size)).sum();
        if green <= 0.0 || self.pairs.iter().any(|pair| pair.control_size == 0) {
            return None;
        }
        let strata = self.pairs.iter().enumerate().map(|(index, pair)| Stratum {
            weight: real(pair.green_size) / green,
            hits: hits(index, &pair.control).min(pair.control_size),
            size: pair.control_size,
        });
        Some(Standardised::new(strata.collect()))
    }

    /// Some of green is compared with what was before the rollout.
    pub(super) fn is_past(&self) -> bool {
        self.pairs.iter().any(|pair| pair.past)
    }

    /// Whose figures the control's are, for a sentence.
    pub(super) fn whose(&self) -> &'static str {
        match (self.pairs.iter().any(|pair| pair.past), self.pairs.iter().any(|pair| !pair.past)) {
            (false, _) => "blue's",
            (true, false) => "the baseline's",
            (true, true) => "blue's and the baseline's",
        }
    }
}

fn sum<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Tally {
    tallies.fold(Tally::default(), |mut sum, tally| {
        sum.add(tally);
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::tests::{cell, window};

    fn outcomes(baseline: &Window, phase: &Window) -> Matched {
        Matched::new(baseline, phase, true, Tally::outcomes)
    }

    #[test]
    fn a_type_is_compared_with_its_own_kind() {
        // Agents of type b fail in a tenth of their tasks on either side; green happens to be all of type b.
        let phase = window(&[
            cell("b1", Side::Green, 90, 10, 1000),
            cell("b2", Side::Blue, 180, 20, 1000),
            cell("a1", Side::Blue, 9000, 0, 1000),
        ]);
        let matched = outcomes(&Window::default(), &phase);
        let control = matched.standardised(|_, tally| tally.errors()).unwrap();
        assert!((control.estimate() - 0.1).abs() < 1e-9);
        assert_eq!(matched.whose(), "blue's");
    }

    #[test]
    fn blue_is_weighed_as_green_works() {
        let phase = window(&[
            cell("a1", Side::Green, 75, 0, 1000),
            cell("b1", Side::Green, 25, 0, 1000),
            cell("a2", Side::Blue, 1000, 0, 1000),
            cell("b2", Side::Blue, 900, 100, 1000),
        ]);
        let control = outcomes(&Window::default(), &phase).standardised(|_, t| t.errors()).unwrap();
        assert!((control.estimate() - 0.025).abs() < 1e-9, "a quarter of a tenth: {}", control.estimate());
    }

    #[test]
    fn where_blue_is_gone_the_baseline_stands_in() {
        let baseline = window(&[cell("a1", Side::Blue, 400, 1, 1000)]);
        let phase = window(&[cell("a1", Side::Green, 100, 0, 1000), cell("a2", Side::Blue, 30, 0, 1000)]);
        assert_eq!(outcomes(&baseline, &phase).whose(), "the baseline's");
        assert_eq!(outcomes(&Window::default(), &phase).whose(), "blue's");
    }

    #[test]
    fn a_kind_without_control_is_compared_with_all() {
        let phase = window(&[cell("b1", Side::Green, 100, 0, 1000), cell("a1", Side::Blue, 200, 2, 1000)]);
        let control = outcomes(&Window::default(), &phase).standardised(|_, t| t.errors()).unwrap();
        assert!((control.estimate() - 2.0 / 202.0).abs() < 1e-9);
        let alone = window(&[cell("b1", Side::Green, 100, 0, 1000)]);
        let matched = outcomes(&Window::default(), &alone);
        assert!(matched.standardised(|_, t| t.errors()).is_none());
    }
}
