//! R12 and R31: a quantile of green's response time against blue's.
//!
//! Green's limits are order statistics (binomial ranks, free of any distribution). Blue's are the points at which
//! the limit of its standardised share of slower responses crosses the level of the quantile. Harm is green's
//! lower limit above the allowed ratio of blue's upper one. Response time excludes what tasks waited for slots and
//! model loads: that is the shared server's, never the revision's.

use super::{
    Finding, Judgement,
    exact::{at_least, at_most, first, lower_limit},
    judge::{Draft, Terms},
    matched::Matched,
    window::Ladder,
    words::{count, number},
};

/// A bucket of the histogram is at most this wide; both limits may be off by half of it.
const BUCKET: f64 = 1.0 / 128.0;
/// Nothing is answered in a microsecond: a quantile there is a clock that was not read (R97).
const NOT_READ_MICROS: f64 = 1.0;
const SURE: f64 = 0.95;

pub(super) struct Quantile {
    pub(super) id: &'static str,
    pub(super) metric: &'static str,
    pub(super) level: f64,
    /// The largest allowed ratio of green's to blue's.
    pub(super) ratio: f64,
}

pub(super) fn judge(terms: &Terms<'_>, matched: &Matched, quantile: &Quantile) -> Judgement {
    let alpha = terms.alpha(0.12) / 2.0;
    let Quantile { id, metric, level, ratio } = *quantile;
    let green_tally = matched.green();
    let green = Ladder::of(&green_tally.response);
    let draft = Draft::new(id, metric).samples(green.len());
    let Some(value) = green.quantile(level) else {
        return draft.limit(ratio * 100.0, "% of baseline").open("no response of green was timed");
    };
    let Some((blue, base)) = Mixture::of(matched).and_then(|blue| blue.quantile(level).map(|base| (blue, base))) else {
        let why = format!("green's {} ms in {} tasks; blue has none to compare with", ms(value), count(green.len()));
        return draft.limit(ratio * 100.0, "% of baseline").open(why);
    };
    let draft = draft.measured(base / 1e3, value / 1e3).limit(ratio * base / 1e3, "ms");
    if value <= NOT_READ_MICROS || base <= NOT_READ_MICROS {
        return draft.open("the times read as zero, so they were not measured");
    }
    let (lowest, highest) = limits(&green, level, alpha);
    let (blue_lowest, blue_highest) = (blue.lower(level, alpha), blue.upper(level, alpha));
    let smallest = blue_highest.and_then(|highest| {
        let rank = lower_rank(green.len(), level, alpha)?;
        // Where green's lower limit falls short of with the remaining probability, were green like blue.
        let reached = blue.quantile(lower_limit(rank, green.len(), 1.0 - SURE))?;
        Some((ratio * (1.0 + BUCKET) * highest / reached).max(1.0))
    });
    let finding = match (lowest, highest, blue_lowest, blue_highest) {
        (Some(low), _, _, Some(high)) if low > ratio * (1.0 + BUCKET) * high => Finding::Harm,
        (_, Some(high), Some(low), _) if high * (1.0 + BUCKET) <= ratio * low => Finding::Proved,
        _ if smallest.is_some_and(|smallest| smallest <= terms.gate.tolerated_latency_ratio) => Finding::NoHarmSeen,
        _ => Finding::CannotTellYet,
    };
    let sees = match (finding, smallest) {
        (Finding::Harm, _) => format!("more than {} times as long at any likely figure", number(ratio)),
        (Finding::Proved, _) => format!("more than {} times as long is ruled out", number(ratio)),
        (_, Some(smallest)) => format!("{} times as long would have been seen", number(smallest)),
        (_, None) => "too few to see any slowness".to_owned(),
    };
    let why = format!(
        "green's {metric}: {} ms in {} tasks, {} {} ms in {}; {sees}",
        ms(value),
        count(green.len()),
        matched.whose(),
        ms(base),
        count(matched.control().responses()),
    );
    draft.smallest(smallest.map(|smallest| (smallest - 1.0) * base / 1e3)).find(terms.gate.require, finding, why)
}

/// Lower and upper limit of the quantile, each at `alpha`, where there are samples enough for one.
fn limits(ladder: &Ladder, level: f64, alpha: f64) -> (Option<f64>, Option<f64>) {
    let n = ladder.len();
    if alpha <= 0.0 {
        return (None, None);
    }
    // P(Bin(n, level) ≥ s) ≤ alpha: the s-th smallest is below the quantile no more often than that.
    let upper_rank = first(n.saturating_add(1), |rank| at_least(rank, n, level) <= alpha);
    let lower = lower_rank(n, level, alpha).and_then(|rank| ladder.order_statistic(rank));
    (lower, ladder.order_statistic(upper_rank).filter(|_| upper_rank <= n))
}

/// The largest rank whose order statistic is above the quantile with chance at most `alpha`.
fn lower_rank(n: u64, level: f64, alpha: f64) -> Option<u64> {
    let rank = first(n, |rank| at_most(rank, n, level) > alpha);
    (rank > 0 && alpha > 0.0).then_some(rank)
}

/// Blue's response times, weighed as green works.
struct Mixture<'a> {
    matched: &'a Matched,
    ladders: Vec<Ladder>,
    /// All values that occur, ascending.
    values: Vec<f64>,
}

impl<'a> Mixture<'a> {
    fn of(matched: &'a Matched) -> Option<Self> {
        let ladders: Vec<Ladder> = matched.pairs().iter().map(|pair| Ladder::of(&pair.control.response)).collect();
        if ladders.is_empty() || ladders.iter().any(|ladder| ladder.len() == 0) {
            return None;
        }
        let mut values: Vec<f64> = ladders.iter().flat_map(Ladder::values).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        Some(Self { matched, ladders, values })
    }

    fn quantile(&self, level: f64) -> Option<f64> {
        self.first_where(|control| control.estimate() <= 1.0 - level + 1e-12)
    }

    /// Not exceeded by the true quantile with confidence 1 − `alpha`.
    fn upper(&self, level: f64, alpha: f64) -> Option<f64> {
        self.first_where(|control| control.upper_is_at_most(1.0 - level, alpha))
    }

    /// Exceeded by the true quantile with confidence 1 − `alpha`.
    fn lower(&self, level: f64, alpha: f64) -> Option<f64> {
        let beyond = self.index_where(|control| !control.lower_is_above(1.0 - level, alpha));
        beyond.checked_sub(1).map(|index| self.values[index])
    }

    fn first_where(&self, holds: impl Fn(&super::exact::Standardised) -> bool) -> Option<f64> {
        self.values.get(self.index_where(holds)).copied()
    }

    /// The first value at which the share of slower responses satisfies `holds`.
    fn index_where(&self, holds: impl Fn(&super::exact::Standardised) -> bool) -> usize {
        self.values.partition_point(|&value| {
            let slower = self.matched.standardised(|index, _| self.ladders[index].above(value));
            !slower.is_some_and(|slower| holds(&slower))
        })
    }
}

fn ms(micros: f64) -> String {
    number(micros / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;

    #[test]
    fn the_limits_of_a_median_are_the_textbook_ranks() {
        // n = 20, 95 % two-sided: ranks 6 and 15 (Conover, table A3).
        let mut histogram = Histogram::default();
        (1..=20).for_each(|x| histogram.record(x));
        assert_eq!(limits(&Ladder::of(&histogram), 0.5, 0.025), (Some(6.0), Some(15.0)));
    }

    #[test]
    fn few_samples_have_no_limits() {
        let mut histogram = Histogram::default();
        (1..=4).for_each(|x| histogram.record(x));
        assert_eq!(limits(&Ladder::of(&histogram), 0.5, 0.01), (None, None));
        assert_eq!(limits(&Ladder::of(&Histogram::default()), 0.95, 0.01), (None, None));
    }
}
