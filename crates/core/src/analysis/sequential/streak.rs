//! How many failures of one agent in a row do not happen by chance (ANALYSIS §3.4).
//!
//! Errors are counted as onsets, so an agent that fails for ever is one error; this is the rule for it. The number follows
//! from how long blue's bursts last and how many are to be expected, because no fixed one works: five in a row roll back
//! healthy fleets whose errors cluster.

use super::super::exact::real;

/// Until blue has failed often enough to show its bursts: a mean length of 3 to 4, as in six failures.
const CONTINUED_ASSUMED: f64 = 4.2;
const FAILURES_ASSUMED: f64 = 6.0;
/// The chance that any burst of a healthy rollout reaches the limit.
const CHANCE: f64 = 0.002;
/// A rollout with its validation lasts several times as long as its baseline.
const ROLLOUT_IN_BASELINES: f64 = 10.0;
const STREAK_MIN: f64 = 12.0;
/// Also where blue's bursts are so long that chance would explain more.
const STREAK_MAX: f64 = 64.0;

#[derive(Clone, Debug)]
pub(super) struct Bursts {
    /// Bursts expected of green if it is as good as blue was in the baseline.
    expected: f64,
    after_failure: f64,
    continued: f64,
}

impl Bursts {
    /// `base_rate` is the error rate of the baseline, `outcomes` their number.
    pub(super) fn new(base_rate: f64, outcomes: u64) -> Self {
        let expected = (base_rate * real(outcomes) * ROLLOUT_IN_BASELINES).max(1.0);
        Self { expected, after_failure: FAILURES_ASSUMED, continued: CONTINUED_ASSUMED }
    }

    /// Takes blue's outcomes that came after a failure, and those of them that failed again.
    pub(super) fn blue(&mut self, after_failure: u64, continued: u64) {
        self.after_failure += real(after_failure);
        self.continued += real(continued.min(after_failure));
    }

    /// N = 1 + ⌈ln(expected ÷ 0.002) ÷ −ln(chance that a failure is followed by one)⌉.
    pub(super) fn streak_max(&self) -> u64 {
        let again = (self.continued / self.after_failure).clamp(0.01, 0.99);
        let streak = 1.0 + ((self.expected / CHANCE).ln() / -again.ln()).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let streak = streak.clamp(STREAK_MIN, STREAK_MAX) as u64;
        streak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_failure_it_is_as_in_the_studies() {
        for (rate, outcomes) in [(0.0009, 600), (0.00001, 100_000), (0.002, 360)] {
            let streak = Bursts::new(rate, outcomes).streak_max();
            assert!((12..=26).contains(&streak), "{streak}");
        }
    }

    #[test]
    fn longer_bursts_allow_longer_streaks_within_bounds() {
        let streak = |after_failure, continued| {
            let mut bursts = Bursts::new(0.002, 3000);
            bursts.blue(after_failure, continued);
            bursts.streak_max()
        };
        assert_eq!(streak(1000, 0), 12);
        assert!(streak(1000, 500) < streak(1000, 800));
        assert_eq!(streak(u64::MAX, u64::MAX), 64);
    }
}
