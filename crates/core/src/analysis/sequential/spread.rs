//! How response times are spread around an agent's own pace: a log-linear histogram of ratios, 0.8 % wide.

use std::collections::BTreeMap;

/// Buckets per factor e.
const STEPS: f64 = 128.0;
/// e^±64 on both ends; what is beyond is counted there.
const BUCKET_MAX: f64 = 64.0 * STEPS;

#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    buckets: BTreeMap<i16, f64>,
    total: f64,
}

impl Spread {
    /// Counts `weight` responses that took e^`ln` times their agent's pace.
    pub(super) fn add(&mut self, ln: f64, weight: f64) {
        if ln.is_finite() && weight > 0.0 {
            #[expect(clippy::cast_possible_truncation, reason = "clamped to what i16 holds")]
            let bucket = (ln * STEPS).round().clamp(-BUCKET_MAX, BUCKET_MAX) as i16;
            *self.buckets.entry(bucket).or_default() += weight;
            self.total += weight;
        }
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// The upper edge of the bucket of the ⌈q·n⌉-th smallest, and the share that is above it. An edge, so that no value is
    /// both above in one count and not in the other.
    pub(super) fn quantile(&self, q: f64) -> Option<Level> {
        let mut seen = 0.0;
        for (&bucket, &weight) in &self.buckets {
            seen += weight;
            if seen >= q * self.total {
                let above = (self.total - seen).max(0.0);
                let rate = ((above + 1.0) / (self.total + 2.0)).clamp(1e-3, 0.9);
                return Some(Level { ln: (f64::from(bucket) + 0.5) / STEPS, rate });
            }
        }
        None
    }
}

/// A level of response times, as the logarithm of a multiple of an agent's pace, and how often blue is above it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) ln: f64,
    pub(super) rate: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_what_is_above_them_fit_together() {
        let mut spread = Spread::default();
        (0..1000).for_each(|n| spread.add(f64::from(n) / 1000.0, 1.0));
        let level = spread.quantile(0.95).unwrap();
        assert!((level.ln - 0.95).abs() < 0.01 && (level.rate - 0.05).abs() < 0.01, "{level:?}");
        assert_eq!(Spread::default().quantile(0.5), None);
    }

    #[test]
    fn what_is_absurd_is_counted_at_the_end_or_not_at_all() {
        let mut spread = Spread::default();
        for ln in [1e300, -1e300, f64::NAN, f64::INFINITY] {
            spread.add(ln, 1.0);
        }
        assert!((spread.total() - 2.0).abs() < 1e-12 && spread.quantile(1.0).is_some());
    }
}
