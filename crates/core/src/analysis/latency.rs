//! R12 and R31: a quantile of green's response time against blue's.
//!
//! Each type of agent has its own threshold, the quantile of its control times the allowed ratio; green's responses
//! above it are counted over all types ([`Exceedances`]). Too many are harm, too few of them prove its absence.
//! Response time excludes what tasks waited for slots and model loads: that is the shared server's, never the
//! revision's.

use super::{
    Finding, Judgement,
    exact::{lower_limit, real},
    exceed::{Exceedances, Sizes},
    judge::{Draft, Terms},
    ladder::Ladder,
    matched::Matched,
    words::{count, number},
};

/// A bucket of the histogram is at most 1/128 wide and stands for its middle, so that a ratio of two values is off by
/// less than this factor.
const BUCKETS: f64 = 1.01;
/// Nothing is answered in a microsecond: a quantile there is a clock that was not read (R97).
const NOT_READ_MICROS: f64 = 1.0;
const SURE: f64 = 0.95;
/// Ratios beyond this are not told apart.
const RATIO_MAX: f64 = 1000.0;

pub(super) struct Quantile {
    pub(super) id: &'static str,
    pub(super) metric: &'static str,
    pub(super) level: f64,
    /// The largest allowed ratio of green's to blue's.
    pub(super) ratio: f64,
}

pub(super) fn judge(terms: &Terms<'_>, matched: &Matched, quantile: &Quantile) -> Judgement {
    let alpha = terms.alpha(0.12);
    let Quantile { id, metric, level, ratio } = *quantile;
    let green = Ladder::of(&matched.green().response);
    let draft = Draft::new(id, metric).samples(green.len());
    let Some(value) = green.quantile(level) else {
        return draft.limit(ratio * 100.0, "% of baseline").open("no response of green was timed");
    };
    let strata = Strata::of(matched, level);
    let Some(base) = strata.quantile(matched, level) else {
        let why = format!("green's {} ms in {} tasks; blue has none to compare with", ms(value), count(green.len()));
        return draft.limit(ratio * 100.0, "% of baseline").open(why);
    };
    let draft = draft.measured(base / 1e3, value / 1e3).limit(ratio * base / 1e3, "ms");
    if value <= NOT_READ_MICROS || base <= NOT_READ_MICROS {
        return draft.open("the times read as zero, so they were not measured");
    }
    let alike = strata.exceedances();
    let too_slow = alike.at_least(strata.green_above(ratio * BUCKETS)) <= alpha;
    let fast_enough = alike.at_most(strata.green_above(ratio / BUCKETS)) <= alpha;
    let smallest = alike
        .critical(alpha)
        .filter(|_| alpha > 0.0)
        .and_then(|(exceedances, samples)| strata.factor_for(lower_limit(exceedances, samples, SURE), ratio * BUCKETS));
    // The tolerance is meant for the p95. A wider limit of another quantile widens it in proportion, or nothing so wide
    // could ever be seen within it.
    let tolerated = terms.gate.tolerated_latency_ratio * (ratio / terms.criteria.latency_p95_max).max(1.0);
    // Where blue did not work beside it, what slows the whole machine looks like a slow revision (ANALYSIS §3.2).
    let finding = if alpha > 0.0 && too_slow {
        if matched.is_past() { Finding::CannotTellYet } else { Finding::Harm }
    } else if alpha > 0.0 && fast_enough {
        Finding::Proved
    } else if smallest.is_some_and(|smallest| smallest <= tolerated) {
        Finding::NoHarmSeen
    } else {
        Finding::CannotTellYet
    };
    let sees = match (finding, smallest) {
        (Finding::Harm, _) => format!("more than {} times as long", number(ratio)),
        (Finding::CannotTellYet, _) if too_slow => {
            let ratio = number(ratio);
            format!("more than {ratio} times as long, but a machine that is busier than before would look the same")
        }
        (Finding::Proved, _) => format!("{} times as long is ruled out", number(ratio)),
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

struct Strata(Vec<Stratum>);

struct Stratum {
    green: Ladder,
    control: Ladder,
    rank: u64,
    /// The control's quantile in microseconds.
    threshold: f64,
}

impl Strata {
    /// A stratum without control samples has an infinite threshold, which nothing exceeds.
    fn of(matched: &Matched, level: f64) -> Self {
        let strata = matched.pairs().iter().map(|pair| {
            let control = Ladder::of(&pair.control.response);
            let rank = control.rank(level);
            let threshold = control.order_statistic(rank).unwrap_or(f64::INFINITY);
            Stratum { green: Ladder::of(&pair.green.response), control, rank, threshold }
        });
        Self(strata.collect())
    }

    /// The quantile of the control, weighed as green works.
    fn quantile(&self, matched: &Matched, level: f64) -> Option<f64> {
        let mut values: Vec<f64> = self.0.iter().flat_map(|stratum| stratum.control.values()).collect();
        values.sort_by(f64::total_cmp);
        let slower = |value| matched.standardised(|index, _| self.0[index].control.above(value));
        let index =
            values.partition_point(|&value| slower(value).is_none_or(|slower| slower.estimate() > 1.0 - level + 1e-12));
        values.get(index).copied()
    }

    fn exceedances(&self) -> Exceedances {
        let sizes = |s: &Stratum| Sizes { green: s.green.len(), control: s.control.len(), rank: s.rank };
        Exceedances::new(&self.0.iter().map(sizes).collect::<Vec<_>>())
    }

    /// Green's responses above `ratio` times their stratum's threshold.
    fn green_above(&self, ratio: f64) -> u64 {
        self.0.iter().fold(0, |sum, s| sum.saturating_add(s.green.above(ratio * s.threshold)))
    }

    /// By which factor green would have to be slower than the control for `share` of it to be above `ratio` times the
    /// threshold.
    fn factor_for(&self, share: f64, ratio: f64) -> Option<f64> {
        let green: f64 = self.0.iter().map(|s| real(s.green.len())).sum();
        let above = |factor: f64| {
            let of = |s: &Stratum| {
                real(s.green.len()) / green * real(s.control.above(ratio * s.threshold / factor))
                    / real(s.control.len().max(1))
            };
            self.0.iter().map(of).sum::<f64>()
        };
        let (mut low, mut high) = (1.0, RATIO_MAX);
        if above(high) < share {
            return None;
        }
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if above(middle) < share {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(high)
    }
}

fn ms(micros: f64) -> String {
    number(micros / 1e3)
}
