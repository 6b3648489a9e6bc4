//! Evidence that green is slower than blue by more than a ratio, at the median and high up (ANALYSIS §2).
//!
//! Every response is measured in its agent's own pace, so that neither a slow agent nor a slow model looks like a slow
//! revision. A line bets on how often green exceeds ρ times what blue exceeded with a known chance so far. A
//! response counts when it ends: what is still in flight is not in the records.

use std::collections::BTreeMap;

use super::{
    super::{Tally, exact::real},
    LINES,
    line::Line,
    pace::Pace,
    ripr::{Arms, Bet, likelier},
    roster::Roster,
    spread::{Level, Spread},
};
use crate::{
    histogram::Histogram,
    id::{AgentName, Side},
    observation::Cell,
    time::UnixMillis,
};

pub(super) const QUANTILES: [f64; LINES] = [0.5, 0.9, 0.95];
/// Blue responses from which on a type has a level of its own; before that it has the fleet's.
const ENOUGH: f64 = 100.0;

/// The ratio is no less than this many deviations of what an agent's pace is not known.
const DOUBTS: f64 = 2.0;

pub(super) struct Latency {
    ln_ratio: f64,
    paces: Vec<Option<Pace>>,
    kinds: Vec<Spread>,
    fleet: Spread,
    levels: Vec<[Option<Level>; LINES]>,
    lines: [Line<6>; LINES],
}

impl Latency {
    /// `paces` are those of the roster's members, in their order.
    pub(super) fn new(
        ratio: f64,
        roster: &Roster,
        paces: Vec<Option<Pace>>,
        past: &BTreeMap<AgentName, Tally>,
    ) -> Self {
        let kinds = roster.kinds();
        let mut latency = Self {
            ln_ratio: ratio.max(1.0).ln(),
            paces,
            kinds: vec![Spread::default(); kinds],
            fleet: Spread::default(),
            levels: vec![[None; LINES]; kinds],
            lines: [(); LINES].map(|()| Line::new(kinds)),
        };
        for (member, of) in roster.members().iter().enumerate().map(|(index, m)| (index, past.get(&m.name))) {
            if let (Some(Some(pace)), Some(tally)) = (latency.paces.get(member).copied(), of) {
                latency.learn(roster.kind_of(member), &ratios(&[&tally.response], pace));
            }
        }
        latency.refresh();
        latency
    }

    pub(super) fn line(&self, line: usize) -> &Line<6> {
        &self.lines[line]
    }

    pub(super) fn ratio(&self) -> f64 {
        self.ln_ratio.exp()
    }

    /// How often blue's responses in a type are slow.
    pub(super) fn rate(&self, kind: usize, line: usize) -> Option<f64> {
        Some(self.levels.get(kind)?[line]?.rate)
    }

    pub(super) fn phase(&mut self) {
        self.lines.iter_mut().for_each(Line::phase);
    }

    pub(super) fn moved(&mut self, kind: usize) {
        self.lines.iter_mut().for_each(|line| line.moved(kind));
    }

    /// Sets levels from what blue did so far.
    pub(super) fn refresh(&mut self) {
        for (spread, levels) in self.kinds.iter().zip(&mut self.levels) {
            let spread = if spread.total() >= ENOUGH { spread } else { &self.fleet };
            *levels = QUANTILES.map(|u| spread.quantile(u).filter(|_| spread.total() >= ENOUGH));
        }
        self.lines.iter_mut().for_each(Line::refresh);
    }

    pub(super) fn take(&mut self, at: UnixMillis, cells: &[(usize, &Cell)], roster: &mut Roster) {
        let mut outcomes: [BTreeMap<usize, Arms>; LINES] = Default::default();
        let mut blue = Vec::new();
        for &(member, cell) in cells {
            let Some(Some(pace)) = self.paces.get(member).copied() else { continue };
            if !roster.compares(member, cell.drawn) {
                continue;
            }
            let kind = roster.kind_of(member);
            let ratios = ratios(&[&cell.tasks.own_time, &cell.pushes.service], pace);
            if ratios.is_empty() {
                continue;
            }
            let of = ratios.iter().fold(0, |sum: u64, &(_, count)| sum.saturating_add(count));
            for (line, (level, outcomes)) in self.levels[kind].iter().zip(&mut outcomes).enumerate() {
                let Some(level) = level else { continue };
                // A green whose pace is known from few responses may be that much slower than it seemed.
                let limit = match cell.drawn {
                    Side::Blue => level.ln,
                    Side::Green => level.ln + self.ln_ratio.max(DOUBTS * pace.doubt),
                };
                let slow = ratios.iter().filter(|&&(ln, _)| ln > limit);
                let slow = slow.fold(0, |sum: u64, &(_, count)| sum.saturating_add(count));
                let arms = match cell.drawn {
                    Side::Blue => Arms { blue: of, blue_hits: slow, ..Arms::default() },
                    Side::Green => Arms { green: of, green_hits: slow, ..Arms::default() },
                };
                if cell.drawn == Side::Green {
                    roster.slow(member, line, of, slow);
                }
                outcomes.entry(kind).or_default().add(&arms);
            }
            if cell.drawn == Side::Blue {
                blue.push((kind, ratios));
            }
        }
        let levels = &self.levels;
        for (index, (line, outcomes)) in self.lines.iter_mut().zip(&outcomes).enumerate() {
            line.take(
                at,
                outcomes,
                |kind| roster.share(kind),
                |kind, share| {
                    let rate = levels[kind][index]?.rate;
                    Some(likelier(rate).map(|to| Bet::new(share, rate, 0.0, to)))
                },
            );
        }
        // Only now, so that no response is measured against itself.
        blue.iter().for_each(|(kind, ratios)| self.learn(*kind, ratios));
    }

    fn learn(&mut self, kind: usize, ratios: &[(f64, u64)]) {
        for &(ln, count) in ratios {
            self.kinds[kind].add(ln, real(count));
            self.fleet.add(ln, real(count));
        }
    }
}

/// Logarithms of response times in multiples of the agent's pace, with their counts.
fn ratios(times: &[&Histogram], pace: Pace) -> Vec<(f64, u64)> {
    let samples = times.iter().flat_map(|histogram| histogram.iter());
    samples.map(|(micros, count)| (micros.max(1.0).ln() - pace.ln, count)).collect()
}
