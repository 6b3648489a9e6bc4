//! The distribution of a sum of independent counts, by convolution.
//!
//! Counts far from the mean are not computed. Their mass is given to whichever tail is asked for, so that a tail is
//! never too small.

use statrs::function::gamma::ln_gamma;

use super::exact::real;

/// How many deviations from its mean a count is followed.
const DEVIATIONS: f64 = 14.0;

/// Chances of the counts `from`, `from` + 1, …
pub(super) struct Mass {
    from: usize,
    of: Vec<f64>,
}

impl Mass {
    /// The sum of no counts: 0 for sure.
    pub(super) fn nothing() -> Self {
        Self { from: 0, of: vec![1.0] }
    }

    /// How many of `n` succeed, each with chance `p`.
    pub(super) fn binomial(n: u64, p: f64) -> Self {
        if p <= 0.0 || n == 0 {
            return Self::nothing();
        }
        if p >= 1.0 {
            return Self { from: index(n), of: vec![1.0] };
        }
        let size = real(n);
        Self::around(size, size * p, size * p * (1.0 - p), |k| {
            ln_ways(size, k) + k * p.ln() + (size - k) * (-p).ln_1p()
        })
    }

    /// How many of `n` succeed, where their common chance is Beta(`a`, `b`).
    pub(super) fn beta_binomial(n: u64, a: f64, b: f64) -> Self {
        let (size, share) = (real(n), a / (a + b));
        let variance = size * share * (1.0 - share) * (a + b + size) / (a + b + 1.0);
        let ln_beta = |a: f64, b: f64| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
        Self::around(size, size * share, variance, |k| ln_ways(size, k) + ln_beta(k + a, size - k + b) - ln_beta(a, b))
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut of = vec![0.0; self.of.len() + other.of.len() - 1];
        for (i, a) in self.of.iter().enumerate() {
            for (sum, b) in of[i..].iter_mut().zip(&other.of) {
                *sum += a * b;
            }
        }
        Self { from: self.from + other.from, of }
    }

    /// The chance of `count` or more.
    pub(super) fn at_least(&self, count: u64) -> f64 {
        let skipped = index(count).saturating_sub(self.from).min(self.of.len());
        (self.of[skipped..].iter().sum::<f64>() + self.missing()).min(1.0)
    }

    /// The chance of `count` or fewer.
    pub(super) fn at_most(&self, count: u64) -> f64 {
        let taken = (index(count) + 1).saturating_sub(self.from).min(self.of.len());
        (self.of[..taken].iter().sum::<f64>() + self.missing()).min(1.0)
    }

    fn around(size: f64, mean: f64, variance: f64, ln_chance: impl Fn(f64) -> f64) -> Self {
        let reach = DEVIATIONS * variance.sqrt() + 30.0;
        let (low, high) = (whole((mean - reach).max(0.0)), whole((mean + reach).min(size)));
        Self { from: index(low), of: (low..=high).map(|k| ln_chance(real(k)).exp()).collect() }
    }

    fn missing(&self) -> f64 {
        (1.0 - self.of.iter().sum::<f64>()).max(0.0)
    }
}

/// The whole part of a number that is not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is not negative")]
pub(super) fn whole(x: f64) -> u64 {
    x as u64
}

fn ln_ways(n: f64, k: f64) -> f64 {
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).min(usize::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::exact;

    #[test]
    fn a_sum_of_binomials_is_binomial() {
        let sum = Mass::binomial(40, 0.03).plus(&Mass::binomial(60, 0.03));
        for count in [0, 1, 5, 12, 100, 101] {
            let (got, want) = (sum.at_least(count), exact::at_least(count, 100, 0.03));
            assert!((got - want).abs() < 1e-12, "{count}: {got} is not {want}");
            assert!((sum.at_most(count) - exact::at_most(count, 100, 0.03)).abs() < 1e-12);
        }
    }

    #[test]
    fn certain_counts_are_certain() {
        assert_eq!(Mass::binomial(3, 1.0).plus(&Mass::binomial(5, 0.0)).at_least(3), 1.0);
        assert_eq!(Mass::binomial(3, 1.0).at_least(4), 0.0);
        assert_eq!(Mass::nothing().at_most(0), 1.0);
    }
}
