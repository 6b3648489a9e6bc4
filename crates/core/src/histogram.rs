//! A log-linear histogram of durations: 128 sub-buckets per power of two, so a bucket is at most 0.8 % wide.
//!
//! Sparse, because one second of one agent holds a handful of calls. Merging is exact.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Durations in microseconds, counted by bucket.
///
/// Travels as a list of pairs: a map with numbers as keys does not survive every JSON reader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u16, u64)>", into = "Vec<(u16, u64)>")]
pub struct Histogram {
    counts: BTreeMap<u16, u64>,
}

const SUB_BITS: u32 = 7;

impl Histogram {
    pub fn record(&mut self, micros: u64) {
        *self.counts.entry(bucket(micros)).or_default() += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        for (&bucket, &count) in &other.counts {
            *self.counts.entry(bucket).or_default() += count;
        }
    }

    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The value of the `rank`-th smallest sample (from 1) in microseconds, within half a bucket.
    pub fn order_statistic(&self, rank: u64) -> Option<f64> {
        let mut seen = 0;
        for (&bucket, &count) in &self.counts {
            seen += count;
            if seen >= rank && rank > 0 {
                return Some(midpoint(bucket));
            }
        }
        None
    }

    /// The `q`-quantile in microseconds: the ⌈q·n⌉-th smallest sample. `None` without samples.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "q is in 0..=1"
        )]
        let rank = ((q.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        self.order_statistic(rank)
    }

    pub fn mean(&self) -> Option<f64> {
        let n = self.count();
        #[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
        let total: f64 = self.counts.iter().map(|(&b, &c)| midpoint(b) * c as f64).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts fit 53 bits")]
        (n > 0).then(|| total / n as f64)
    }

    /// Samples as (value in microseconds, count), ascending.
    pub fn iter(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.counts.iter().map(|(&b, &c)| (midpoint(b), c))
    }
}

impl From<Vec<(u16, u64)>> for Histogram {
    fn from(pairs: Vec<(u16, u64)>) -> Self {
        let mut histogram = Self::default();
        for (bucket, count) in pairs {
            let held = histogram.counts.entry(bucket).or_default();
            *held = held.saturating_add(count);
        }
        histogram
    }
}

impl From<Histogram> for Vec<(u16, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.counts.into_iter().collect()
    }
}

fn bucket(micros: u64) -> u16 {
    let micros = micros.max(1);
    let log = 63 - micros.leading_zeros();
    let index = if log <= SUB_BITS {
        micros
    } else {
        let shift = log - SUB_BITS;
        (u64::from(shift) << SUB_BITS) + (micros >> shift)
    };
    u16::try_from(index).unwrap_or(u16::MAX)
}

fn midpoint(bucket: u16) -> f64 {
    let index = u32::from(bucket);
    let width = 1u32 << SUB_BITS;
    if index < 2 * width {
        return f64::from(index);
    }
    let shift = (index >> SUB_BITS) - 1;
    let base = f64::from(width + (index & (width - 1)));
    (base + 0.5) * f64::from(shift).exp2()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_comes_back_within_one_percent(micros in 1u64..=1 << 40) {
            let mut h = Histogram::default();
            h.record(micros);
            let back = h.quantile(0.5).unwrap();
            prop_assert!((back / micros as f64 - 1.0).abs() < 0.01, "{micros} came back as {back}");
        }

        #[test]
        fn buckets_keep_the_order(a in 1u64..=1 << 40, b in 1u64..=1 << 40) {
            prop_assert_eq!(a <= b || bucket(a) >= bucket(b), true);
        }

        #[test]
        fn merging_is_counting_both(xs in prop::collection::vec(1u64..1 << 30, 0..50), ys in prop::collection::vec(1u64..1 << 30, 0..50)) {
            let fill = |v: &[u64]| { let mut h = Histogram::default(); v.iter().for_each(|&x| h.record(x)); h };
            let mut merged = fill(&xs);
            merged.merge(&fill(&ys));
            prop_assert_eq!(merged, fill(&[xs, ys].concat()));
        }
    }

    #[test]
    fn quantiles_are_order_statistics() {
        let mut h = Histogram::default();
        (1..=100).for_each(|x| h.record(x));
        assert_eq!(h.quantile(0.5), Some(50.0));
        assert_eq!(h.quantile(0.95), Some(95.0));
        assert_eq!(h.quantile(1.0), Some(100.0));
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
