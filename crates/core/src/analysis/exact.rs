//! Limits of shares and rates that hold at any sample size, and the critical counts that follow from them.
//!
//! Exact binomial limits (Clopper and Pearson 1934) and the gamma limits of a standardised rate (Fay and Feuer
//! 1997). Both are conservative: the chance of a wrong limit is at most the level, never "about" it. Nothing here
//! panics; what has no answer is the widest limit.

use statrs::function::gamma::{checked_gamma_lr, ln_gamma};

/// Larger samples are scaled down to this size: the limits get wider, never narrower, and stay cheap.
const TRIALS_MAX: f64 = 1e9;

/// P(Bin(`of`, `p`) ≥ `hits`).
pub(crate) fn at_least(hits: u64, of: u64, p: f64) -> f64 {
    if hits == 0 {
        return 1.0;
    }
    if hits > of || p <= 0.0 {
        return 0.0;
    }
    let (k, n) = scaled(hits, of);
    beta_reg(k, n - k + 1.0, p)
}

/// P(Bin(`of`, `p`) ≤ `hits`).
pub(super) fn at_most(hits: u64, of: u64, p: f64) -> f64 {
    if hits >= of { 1.0 } else { 1.0 - at_least(hits + 1, of, p) }
}

/// The share that is exceeded with confidence 1 − `alpha`; 0 where nothing was seen.
pub(super) fn lower_limit(hits: u64, of: u64, alpha: f64) -> f64 {
    if hits == 0 || of == 0 || alpha <= 0.0 {
        return 0.0;
    }
    let (k, n) = scaled(hits.min(of), of);
    increasing_root(alpha, |p| beta_reg(k, n - k + 1.0, p)).0
}

/// The share that is not exceeded with confidence 1 − `alpha`; 1 where nothing was seen.
pub(crate) fn upper_limit(hits: u64, of: u64, alpha: f64) -> f64 {
    if hits >= of || alpha <= 0.0 {
        return 1.0;
    }
    let (k, n) = scaled(hits, of);
    increasing_root(1.0 - alpha, |p| beta_reg(k + 1.0, n - k, p)).1
}

/// The smallest count of `of` that rejects "the share is at most `p`" at `alpha`; `None` if not even all do.
pub(super) fn critical_count(of: u64, p: f64, alpha: f64) -> Option<u64> {
    if alpha <= 0.0 {
        return None;
    }
    let rejecting = first(of.saturating_add(1), |hits| at_least(hits, of, p) <= alpha);
    (rejecting <= of).then_some(rejecting)
}

/// The largest count of `of` that rejects "the share is at least `p`" at `alpha`; `None` if not even 0 does.
pub(super) fn critical_shortfall(of: u64, p: f64, alpha: f64) -> Option<u64> {
    if alpha <= 0.0 || of == 0 {
        return None;
    }
    first(of, |hits| at_most(hits, of, p) > alpha).checked_sub(1)
}

/// The limits of (`count` ÷ `span`) ÷ (`other` ÷ `other_span`), each at `alpha`, for Poisson counts: given their
/// sum, the first is binomial (Przyborowski and Wilenski 1940).
pub(super) fn rate_ratio_limits(count: u64, span: f64, other: u64, other_span: f64, alpha: f64) -> (f64, f64) {
    let of = count.saturating_add(other);
    let ratio = |share: f64| {
        if share >= 1.0 { f64::INFINITY } else { share * other_span / ((1.0 - share) * span) }
    };
    (ratio(lower_limit(count, of, alpha)), ratio(upper_limit(count, of, alpha)))
}

/// The first of `0..end` for which `holds`, or `end`; `holds` must not turn false again.
pub(super) fn first(end: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// A share of one population estimated from strata of another: Σ weight × hits ÷ size, with weights that sum to 1.
pub(super) struct Standardised {
    strata: Vec<Stratum>,
}

pub(super) struct Stratum {
    pub(super) weight: f64,
    pub(super) hits: u64,
    pub(super) size: u64,
}

impl Standardised {
    /// Strata without samples must have been merged away before.
    pub(super) fn new(strata: Vec<Stratum>) -> Self {
        Self { strata }
    }

    pub(super) fn estimate(&self) -> f64 {
        self.strata.iter().map(|s| s.weight * real(s.hits) / real(s.size.max(1))).sum::<f64>().min(1.0)
    }

    /// Exceeded by the true share with confidence 1 − `alpha`.
    pub(super) fn lower(&self, alpha: f64) -> f64 {
        if let [only] = self.strata.as_slice() {
            return lower_limit(only.hits, only.size, alpha);
        }
        let (mean, variance) = self.moments();
        if alpha <= 0.0 || mean <= 0.0 {
            return 0.0;
        }
        increasing_root(alpha, |x| gamma_cdf(mean, variance, x)).0
    }

    fn moments(&self) -> (f64, f64) {
        self.strata.iter().fold((0.0, 0.0), |(mean, variance), s| {
            let each = s.weight / real(s.size.max(1));
            (mean + each * real(s.hits), variance + each * each * real(s.hits))
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts above 2^53 need no last digit")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

fn scaled(hits: u64, of: u64) -> (f64, f64) {
    let (k, n) = (real(hits), real(of));
    if n <= TRIALS_MAX { (k, n) } else { ((k / n * TRIALS_MAX).round(), TRIALS_MAX) }
}

/// The gamma distribution function by its mean and variance.
fn gamma_cdf(mean: f64, variance: f64, x: f64) -> f64 {
    let shape = (mean / variance * mean).min(TRIALS_MAX);
    let scaled = x / mean * shape;
    if !(shape > 0.0 && scaled > 0.0) {
        return 0.0;
    }
    if scaled.is_infinite() { 1.0 } else { checked_gamma_lr(shape, scaled).unwrap_or(0.0) }
}

/// Where an increasing function on 0..=1 crosses `target`, from below and from above.
fn increasing_root(target: f64, f: impl Fn(f64) -> f64) -> (f64, f64) {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if f(middle) < target {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low, high)
}

/// The regularised incomplete beta function, by its continued fraction (Lentz's method; DLMF 8.17.22).
///
/// Ours, because `statrs::function::beta::beta_reg` (0.19.1) stops after 140 terms and does not say so, where about
/// √max(a, b) are needed: at a = b = 10⁶ it is off by 3·10⁻⁴, more than the levels that are asked for here.
fn beta_reg(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    let share = if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    };
    share.clamp(0.0, 1.0)
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const TERMS_MAX: u32 = 200_000;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..TERMS_MAX {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut step = 1.0;
        for numerator in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + numerator * d);
            c = away_from_zero(1.0 + numerator / c);
            step = c * d;
            fraction *= step;
        }
        if (step - 1.0).abs() < 1e-14 {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-6 * want.abs().max(1e-3), "{got} is not {want}");
    }

    /// P(Bin ≥ k) by adding up terms: slow, and independent of the fraction.
    fn summed(hits: u64, of: u64, p: f64) -> f64 {
        let ln_term = |k: u64| {
            ln_gamma(real(of) + 1.0) - ln_gamma(real(k) + 1.0) - ln_gamma(real(of - k) + 1.0)
                + real(k) * p.ln()
                + real(of - k) * (1.0 - p).ln()
        };
        (hits..=of).map(|k| ln_term(k).exp()).sum()
    }

    #[test]
    fn limits_agree_with_published_values() {
        // Clopper–Pearson 95 % two-sided limits of 10 of 100, and the rule of three for 0 of 100.
        close(lower_limit(10, 100, 0.025), 0.049_004_69);
        close(upper_limit(10, 100, 0.025), 0.176_222_6);
        close(upper_limit(0, 100, 0.05), 1.0 - 0.05_f64.powf(0.01));
        close(lower_limit(100, 100, 0.05), 0.05_f64.powf(0.01));
    }

    #[test]
    fn tails_hold_where_samples_are_large() {
        for (hits, of, p) in [(50_300, 100_000, 0.5), (260, 100_000, 0.002), (5, 40, 0.05), (39, 40, 0.95)] {
            close(at_least(hits, of, p), summed(hits, of, p));
        }
        // Φ(0.141421): so symmetric a binomial of two million is normal to more digits than are compared.
        close(1.0 - beta_reg(1e6, 1e6, 0.499_95), 0.556_231_5);
    }

    #[test]
    fn one_more_than_half_of_ten_is_no_evidence() {
        assert_eq!(critical_count(10, 0.5, 0.01), Some(10));
        assert_eq!(critical_count(5, 0.5, 0.01), None);
        assert_eq!(critical_shortfall(10, 0.5, 0.01), Some(0));
        assert_eq!(critical_shortfall(5, 0.5, 0.01), None);
    }

    #[test]
    fn a_standardised_rate_in_equal_strata_is_close_to_the_pooled_one() {
        let halves =
            || vec![Stratum { weight: 0.5, hits: 5, size: 1000 }, Stratum { weight: 0.5, hits: 5, size: 1000 }];
        let split = Standardised::new(halves());
        close(split.estimate(), 0.005);
        let (low, pooled) = (split.lower(0.05), lower_limit(10, 2000, 0.05));
        assert!(low <= 1.02 * pooled && low >= 0.9 * pooled, "{low} against {pooled}");
    }

    #[test]
    fn what_a_thin_stratum_says_counts_for_little() {
        let with = |hits, size| {
            let thin = Stratum { weight: 0.5, hits, size };
            Standardised::new(vec![thin, Stratum { weight: 0.5, hits: 20, size: 10_000 }]).lower(0.05)
        };
        assert!(with(1, 10) < 0.01, "one of ten may be chance: {}", with(1, 10));
        assert!(with(1000, 10_000) > 0.045);
    }

    proptest! {
        #[test]
        fn limits_surround_the_estimate(hits in 0u64..=u64::MAX, of in 0u64..=u64::MAX, alpha in 0.0f64..=0.5) {
            let hits = hits.min(of);
            let (low, high) = (lower_limit(hits, of, alpha), upper_limit(hits, of, alpha));
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
            if of > 0 {
                let share = real(hits) / real(of);
                prop_assert!(low <= share + 1e-9 && share <= high + 1e-9, "{} {} {}", low, share, high);
            }
        }

        #[test]
        fn more_hits_never_lower_a_limit(of in 1u64..5000, hits in 0u64..5000, alpha in 1e-6f64..0.5) {
            let hits = hits % of;
            prop_assert!(lower_limit(hits + 1, of, alpha) >= lower_limit(hits, of, alpha) - 1e-12);
            prop_assert!(upper_limit(hits + 1, of, alpha) >= upper_limit(hits, of, alpha) - 1e-12);
        }
    }
}
