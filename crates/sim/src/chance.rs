//! All chance of a run, from one seed.

use bellwether_core::time::Millis;

pub(crate) struct Chance(fastrand::Rng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub(crate) fn hit(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.0.f64() < probability
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound.max(1))
    }

    pub(crate) fn between(&mut self, low: Millis, high: Millis) -> Millis {
        Millis(self.0.u64(low.0..=high.0.max(low.0)))
    }

    /// Waiting time of a Poisson process.
    pub(crate) fn exponential(&mut self, mean: Millis) -> Millis {
        millis(-(1.0 - self.0.f64()).ln() * mean.as_secs_f64())
    }

    /// Skewed to the right, as service and boot times are: half of them below the median.
    pub(crate) fn log_normal(&mut self, median: Millis, sigma: f64) -> Millis {
        let (u, v) = (1.0 - self.0.f64(), self.0.f64());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        millis(median.as_secs_f64() * (sigma * normal).exp())
    }
}

fn millis(seconds: f64) -> Millis {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast that saturates")]
    let millis = (seconds * 1e3) as u64;
    Millis(millis.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_run() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            (0..20).map(|_| chance.log_normal(Millis(4000), 0.5)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn distributions_have_the_middle_that_they_are_given() {
        let mut chance = Chance::new(1);
        let n = 20_000;
        let below = (0..n).filter(|_| chance.log_normal(Millis(4000), 0.5) < Millis(4000)).count();
        assert!((9_500..10_500).contains(&below), "{below}");
        let sum: u64 = (0..n).map(|_| chance.exponential(Millis(1000)).0).sum();
        assert!((950..1050).contains(&(sum / n)), "{sum}");
    }
}
