//! Errors of both sides at once, which no comparison of the two can see: each is measured against the baseline.

use std::collections::BTreeSet;

use super::{
    Alarm, AlarmKind, WatchSetup,
    digest::{Both, Digest},
    latch::Latch,
    recent::Recent,
    words::{add, figure, share},
};
use crate::{
    analysis::{
        Window,
        exact::{at_least, upper_limit},
        words::{count, percent},
    },
    id::Side,
    time::UnixMillis,
};

const WINDOW: u64 = 30;
/// The chance, on each side, of so many onsets at the baseline's rate.
const CHANCE: f64 = 1e-4;
/// The baseline's rate is taken from above with this confidence.
const UNSURE: f64 = 0.05;

pub(super) struct CommonErrors {
    severe: Option<f64>,
    /// The error rate that the baseline does not exclude.
    usual: f64,
    recent: Recent<(UnixMillis, Both<Counts>)>,
    latch: Latch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    /// Errors and outcomes.
    errors: (u64, u64),
    /// Onsets and trials: a burst is one piece of evidence, not many.
    onsets: (u64, u64),
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self { errors: add(self.errors, other.errors), onsets: add(self.onsets, other.onsets) }
    }
}

/// The error rate of the baseline, from above.
pub(super) fn usual_error_rate(window: &Window) -> f64 {
    let (blue, green) = (window.tally(Side::Blue), window.tally(Side::Green));
    let errors = blue.errors().saturating_add(green.errors());
    upper_limit(errors, blue.outcomes().saturating_add(green.outcomes()), UNSURE)
}

impl CommonErrors {
    pub(super) fn new(setup: &WatchSetup<'_>) -> Self {
        let triggers = setup.triggers;
        Self {
            severe: triggers.errors,
            usual: usual_error_rate(setup.baseline.window()),
            recent: Recent::new(WINDOW),
            latch: Latch::new(triggers.scope),
        }
    }

    /// `differs`: the test of green against blue has found errors, so they are green's.
    pub(super) fn second(&mut self, digest: &Digest, differs: bool) -> Option<Alarm> {
        let severe = self.severe?;
        let counts = |side| Counts {
            errors: (
                digest.sum(side, |sight| sight.errors),
                digest.sum(side, |sight| sight.good.saturating_add(sight.errors)),
            ),
            onsets: (digest.sum(side, |sight| sight.onsets), digest.sum(side, |sight| sight.trials)),
        };
        self.recent.push(digest.number, (digest.at, Both { blue: counts(Side::Blue), green: counts(Side::Green) }));
        let sum = |side: Side| self.recent.iter().fold(Counts::default(), |sum, (_, both)| sum.plus(*both.of(side)));
        let (green, blue) = (sum(Side::Green), sum(Side::Blue));
        let suffers = |counts: Counts| {
            let (onsets, trials) = counts.onsets;
            share(counts.errors) > severe && at_least(onsets.min(trials), trials, self.usual) < CHANCE
        };
        if differs || !suffers(green) || !suffers(blue) {
            self.latch.absent();
            return None;
        }
        self.latch.look(BTreeSet::new(), true)?;
        let began = self.recent.iter().find(|(_, both)| both.green.errors.0 > 0 || both.blue.errors.0 > 0);
        let why = format!(
            "errors on both sides: green {} of {}, blue {} of {} in the last {WINDOW} s, above {}; the baseline had at most {}, \
             and green is no worse than blue",
            percent(share(green.errors)),
            count(green.errors.1),
            percent(share(blue.errors)),
            count(blue.errors.1),
            percent(severe),
            percent(self.usual),
        );
        let limit = Some(severe * 100.0);
        Some(Alarm {
            kind: AlarmKind::Errors,
            shared: true,
            harm_began: began.map_or(digest.at, |(at, _)| *at),
            agents: Vec::new(),
            types: Vec::new(),
            why,
            figures: vec![
                figure("errors of green", share(green.errors) * 100.0, limit, "%"),
                figure("errors of blue", share(blue.errors) * 100.0, limit, "%"),
                figure("errors of the baseline, at most", self.usual * 100.0, None, "%"),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests::{Bench, second, tried};

    fn run(green: (u64, u64), blue: (u64, u64), seconds: u64, differs: bool) -> Vec<(u64, Alarm)> {
        let bench = Bench::new(20);
        let mut common = bench.with(CommonErrors::new);
        let mut fired = Vec::new();
        for number in 1..=seconds {
            let cells = vec![tried("a1", Side::Green, green.0, green.1), tried("a2", Side::Blue, blue.0, blue.1)];
            let digest = Digest::new(&second(number, cells), &bench.roster);
            fired.extend(common.second(&digest, differs).map(|alarm| (number, alarm)));
        }
        fired
    }

    #[test]
    fn both_sides_above_the_baseline_are_one_shared_fault() {
        let fired = run((7, 3), (7, 3), 60, false);
        assert_eq!(fired.len(), 1);
        let (number, alarm) = &fired[0];
        assert!(alarm.shared && *number <= 3, "after {number} s: {}", alarm.why);
        assert!(alarm.why.starts_with("errors on both sides: green 30 % of "), "{}", alarm.why);
        assert_eq!(alarm.harm_began, second(1, vec![]).at);
    }

    #[test]
    fn one_side_alone_or_a_difference_is_not() {
        assert_eq!(run((7, 3), (10, 0), 60, false), []);
        assert_eq!(run((10, 0), (7, 3), 60, false), []);
        assert_eq!(run((7, 3), (7, 3), 60, true), []);
    }

    #[test]
    fn below_the_severe_rate_is_borne_and_a_handful_is_no_evidence() {
        assert_eq!(run((96, 4), (96, 4), 60, false), []);
        assert_eq!(run((0, 1), (0, 1), 1, false), []);
    }
}
