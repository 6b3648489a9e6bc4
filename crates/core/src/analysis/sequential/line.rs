//! One line of evidence: a metric's bets in every stratum, what they add up to, and since when it speaks against green.
//!
//! A stratum is a type of agents. Its evidence counts only while both sides are there. The chance that an outcome is
//! green's is known before the outcome: at first what green's agents let expect, which is exact where tasks are drawn at
//! random, then green's share of the outcomes of late, for traffic that nobody draws.

use std::collections::BTreeMap;

use super::{
    super::exact::real,
    ledger::Ledger,
    ripr::{Arms, Bet},
};
use crate::time::UnixMillis;

pub(super) struct Line<const J: usize> {
    pub(super) ledger: Ledger<J>,
    lanes: Vec<Lane<J>>,
    spell: Spell,
}

/// A line's state in one type.
#[derive(Clone)]
struct Lane<const J: usize> {
    /// None until both sides are there.
    flow: Option<Flow>,
    /// None when they are to be made anew.
    bets: Option<[Bet; J]>,
    pause: Pause,
    since_phase: Arms,
    spell: Spell,
}

impl<const J: usize> Line<J> {
    pub(super) fn new(kinds: usize) -> Self {
        let lane = Lane {
            flow: None,
            bets: None,
            pause: Pause::default(),
            since_phase: Arms::default(),
            spell: Spell::default(),
        };
        Self { ledger: Ledger::new(kinds), lanes: vec![lane; kinds], spell: Spell::default() }
    }

    pub(super) fn phase(&mut self) {
        self.ledger.restart();
        self.spell = Spell::default();
        for lane in &mut self.lanes {
            lane.since_phase = Arms::default();
            lane.spell = Spell::default();
        }
    }

    /// Agents of this type changed sides.
    pub(super) fn moved(&mut self, kind: usize) {
        if let Some(lane) = self.lanes.get_mut(kind) {
            lane.flow = None;
            lane.bets = None;
            lane.pause = Pause::default();
        }
    }

    /// Blue's rates were looked at again: bets are made anew.
    pub(super) fn refresh(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.bets = None);
    }

    /// Takes a second's outcomes by type. `expected` is the share of a type's outcomes that green's agents let expect;
    /// `bets` makes the bets of a type for a share. Returns the types that had something to bet on.
    pub(super) fn take(
        &mut self,
        at: UnixMillis,
        outcomes: &BTreeMap<usize, Arms>,
        expected: impl Fn(usize) -> f64,
        bets: impl Fn(usize, f64) -> Option<[Bet; J]>,
    ) -> Vec<usize> {
        let (before, mut harmful, mut taken) = (self.ledger.ln_lately(), false, Vec::new());
        for (&kind, arms) in outcomes {
            let (Some(lane), expected) = (self.lanes.get_mut(kind), expected(kind)) else { continue };
            if expected <= 0.0 || expected >= 1.0 {
                continue;
            }
            let flow = lane.flow.get_or_insert_with(|| Flow::new(expected));
            let bets_rest = !lane.pause.lets_bet(arms, flow.share());
            if lane.bets.is_none() {
                lane.bets = bets(kind, flow.share());
            }
            let Some(bets) = &lane.bets else { continue };
            flow.add(arms);
            if bets_rest {
                continue;
            }
            let before = self.ledger.ln_lately_of(kind);
            self.ledger.add(kind, &bets.each_ref().map(|bet| bet.ln(arms)));
            lane.since_phase.add(arms);
            lane.spell.take(at, arms.green_hits > 0, before, self.ledger.ln_lately_of(kind));
            harmful |= arms.green_hits > 0;
            taken.push(kind);
        }
        self.spell.take(at, harmful, before, self.ledger.ln_lately());
        taken
    }

    /// What counted since the phase began in these types; in all of them if none is named.
    pub(super) fn since_phase(&self, kinds: &[usize]) -> Arms {
        let mut sum = Arms::default();
        let of_interest = |index: &usize| kinds.is_empty() || kinds.contains(index);
        let lanes = self.lanes.iter().enumerate().filter(|(index, _)| of_interest(index));
        lanes.for_each(|(_, lane)| sum.add(&lane.since_phase));
        sum
    }

    /// The first harmful outcome of green in the evidence of these types, or of the fleet if none is named.
    pub(super) fn began(&self, kinds: &[usize]) -> Option<UnixMillis> {
        let of_types = kinds.iter().filter_map(|&kind| self.lanes.get(kind)?.spell.began()).min();
        of_types.or_else(|| self.spell.began())
    }
}

/// Bets rest while green ends nothing although it should have. Otherwise blue's half of the bets would go on alone, and
/// what that adds up to is that green gets no work or hangs, not that it fails or is slow.
#[derive(Clone, Copy, Default)]
struct Pause {
    /// Outcomes of green that should have come since the last that did.
    missing: f64,
}

impl Pause {
    /// Where green works, one gap in twenty is longer.
    const MISSING_MAX: f64 = 3.0;

    /// Takes a second's outcomes, of which `share` should be green's; whether they are bet on. The outcome of green that
    /// ends a pause is still in it: otherwise pauses would take outcomes from blue alone.
    fn lets_bet(&mut self, arms: &Arms, share: f64) -> bool {
        let before = self.missing;
        let since = before + real(arms.blue) * share / (1.0 - share);
        self.missing = if arms.green > 0 { 0.0 } else { since };
        before <= Self::MISSING_MAX && (arms.green > 0 || since <= Self::MISSING_MAX)
    }
}

/// Outcomes of late by side, older ones forgotten. It starts with what is expected of the agents and forgets that too,
/// so that a green which nobody gives any work is not evidence for long.
#[derive(Clone, Copy, Default)]
struct Flow {
    green: f64,
    blue: f64,
}

impl Flow {
    /// As many outcomes as the expectation is worth.
    const PRIOR: f64 = 20.0;
    const MEMORY: f64 = 400.0;

    /// `expected` is green's share of the outcomes as its agents let expect it.
    fn new(expected: f64) -> Self {
        Self { green: Self::PRIOR * expected, blue: Self::PRIOR * (1.0 - expected) }
    }

    /// The chance that the next outcome is green's.
    fn share(self) -> f64 {
        self.green / (self.green + self.blue)
    }

    fn add(&mut self, arms: &Arms) {
        let (green, blue) = (real(arms.green).min(Self::MEMORY), real(arms.blue).min(Self::MEMORY));
        let kept = (1.0 - (green + blue) / Self::MEMORY).max(0.0);
        self.green = self.green * kept + green;
        self.blue = self.blue * kept + blue;
    }
}

/// When the evidence that stands against green began. A harmful outcome whose weight the next good ones take away
/// again was none of it.
#[derive(Clone, Copy, Default)]
struct Spell {
    first: Option<UnixMillis>,
    run: Option<(UnixMillis, f64)>,
}

impl Spell {
    fn take(&mut self, at: UnixMillis, harmful: bool, before: f64, after: f64) {
        if harmful {
            self.first.get_or_insert(at);
            self.run.get_or_insert((at, before));
        }
        self.run = self.run.filter(|&(_, floor)| after > floor);
    }

    fn began(self) -> Option<UnixMillis> {
        self.run.map(|(at, _)| at).or(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(green: u64, green_hits: u64, blue: u64) -> BTreeMap<usize, Arms> {
        BTreeMap::from([(0, Arms { green, green_hits, blue, blue_hits: 0 })])
    }

    fn take(line: &mut Line<1>, at: u64, share: f64, outcomes: &BTreeMap<usize, Arms>) -> Vec<usize> {
        line.take(UnixMillis(at), outcomes, |_| share, |_, share| Some([Bet::new(share, 0.002, 0.001, 0.1)]))
    }

    #[test]
    fn one_side_alone_says_nothing() {
        let mut line: Line<1> = Line::new(1);
        for share in [0.0, 1.0] {
            assert!(take(&mut line, 1, share, &outcomes(10, 10, 0)).is_empty());
        }
        assert_eq!((line.ledger.ln_lately(), line.since_phase(&[])), (0.0, Arms::default()));
    }

    #[test]
    fn the_clock_starts_with_the_harm_that_lasts() {
        let mut line: Line<1> = Line::new(1);
        take(&mut line, 1, 0.1, &outcomes(1, 1, 0));
        for at in 2..200 {
            take(&mut line, at, 0.1, &outcomes(1, 0, 9));
        }
        take(&mut line, 200, 0.1, &outcomes(1, 1, 0));
        take(&mut line, 201, 0.1, &outcomes(2, 2, 0));
        assert_eq!(line.began(&[0]), Some(UnixMillis(200)));
        assert_eq!(line.began(&[]), Some(UnixMillis(200)));
        line.phase();
        assert_eq!(line.began(&[0]), None);
    }

    #[test]
    fn bets_rest_while_green_ends_nothing() {
        let mut line: Line<1> = Line::new(1);
        // At this share 27 outcomes of blue go by for 3 of green, and what is expected falls with the gap.
        take(&mut line, 1, 0.1, &outcomes(2, 0, 18));
        take(&mut line, 2, 0.1, &outcomes(0, 0, 20));
        let before = line.ledger.ln_lately();
        assert!(take(&mut line, 3, 0.1, &outcomes(0, 0, 20)).is_empty(), "too long without green");
        assert!(take(&mut line, 4, 0.1, &outcomes(1, 1, 5)).is_empty(), "what ends the pause is in it");
        assert_eq!((line.ledger.ln_lately(), line.since_phase(&[]).blue), (before, 38));
        assert_eq!(take(&mut line, 5, 0.1, &outcomes(1, 1, 5)), [0]);
        assert!(line.ledger.ln_lately() > before);
    }

    #[test]
    fn a_green_without_traffic_is_no_evidence() {
        let mut line: Line<1> = Line::new(1);
        (0..400).for_each(|at| {
            line.refresh();
            take(&mut line, at, 0.5, &outcomes(0, 0, 20));
        });
        assert!(line.ledger.ln_lately() < 4.0, "{}", line.ledger.ln_lately());
    }
}
