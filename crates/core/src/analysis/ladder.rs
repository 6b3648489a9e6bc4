//! The sorted samples of a histogram with running counts: ranks, exceedances, quantiles. Counts saturate, so a record
//! with absurd ones does no harm.

use super::exact::real;
use crate::histogram::Histogram;

pub(super) struct Ladder {
    steps: Vec<(f64, u64)>,
}

impl Ladder {
    pub(super) fn of(histogram: &Histogram) -> Self {
        let mut seen = 0_u64;
        let steps = histogram.iter().map(|(value, count)| {
            seen = seen.saturating_add(count);
            (value, seen)
        });
        Self { steps: steps.collect() }
    }

    pub(super) fn len(&self) -> u64 {
        self.steps.last().map_or(0, |&(_, seen)| seen)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.steps.iter().map(|&(value, _)| value)
    }

    /// The `rank`-th smallest, from 1.
    pub(super) fn order_statistic(&self, rank: u64) -> Option<f64> {
        let index = self.steps.partition_point(|&(_, seen)| seen < rank);
        self.steps.get(index).filter(|_| rank > 0).map(|&(value, _)| value)
    }

    /// Samples above `value`.
    pub(super) fn above(&self, value: f64) -> u64 {
        let index = self.steps.partition_point(|&(step, _)| step <= value);
        self.len() - index.checked_sub(1).map_or(0, |below| self.steps[below].1)
    }

    /// The rank of the `q`-quantile: ⌈q·n⌉, from 1.
    pub(super) fn rank(&self, q: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "q is in 0..=1")]
        let rank = (q * real(self.len())).ceil() as u64;
        rank.clamp(1, self.len().max(1))
    }

    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        self.order_statistic(self.rank(q))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ladders_rank_and_exceed() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|x| histogram.record(x));
        let ladder = Ladder::of(&histogram);
        assert_eq!((ladder.len(), ladder.above(95.0), ladder.above(0.5), ladder.above(100.0)), (100, 5, 100, 0));
        assert_eq!((ladder.order_statistic(0), ladder.order_statistic(100)), (None, Some(100.0)));
        assert_eq!((ladder.order_statistic(101), ladder.quantile(0.95)), (None, Some(95.0)));
        assert_eq!(Ladder::of(&Histogram::default()).quantile(0.5), None);
    }
}
