//! Universal inference for error rates (Wasserman, Ramdas, Balakrishnan 2020), for thin fleets.
//!
//! The likelihood that predictions made beforehand gave to what was seen, over the largest that any pair of rates
//! within H0 gives it. To the first test a green error is worth at most a factor of about 1 ÷ green's share; here
//! it is not. The guarantee is for constant rates, so it never reaches beyond the phase in which it began, in
//! which green's share is constant too: a common drift then changes both sides alike.

use super::{
    super::exact::real,
    ripr::{Arms, Bet, risen},
};

/// What a phase must at least be able to show is the rise of errors that a gate bears by default; where the first
/// test cannot, this one takes half of the evidence.
const TOLERATED_RISE: f64 = 0.05;
/// A test that ends on average at the last call sees the harm about half of the time. With this many times the
/// evidence it sees it in 95 % (ANALYSIS §5: the 95th percentile of the delay is 2 to 3 times the median, but the
/// chance of growth is steeper than the delay).
const SURE: f64 = 1.6;

/// Evidence of one type since the phase began.
#[derive(Clone, Debug, Default)]
pub(super) struct Universal {
    seen: Arms,
    ln_predicted: [f64; 7],
}

impl Universal {
    /// Takes the outcomes of a second, predicted from blue's rate before it.
    pub(super) fn add(&mut self, arms: &Arms, rate: f64, margin: f64) {
        self.seen.add(arms);
        let blue = ln_likelihood(arms.blue, arms.blue_hits, rate);
        for (ln, risen) in self.ln_predicted.iter_mut().zip(risen(rate, margin)) {
            *ln += blue + ln_likelihood(arms.green, arms.green_hits, risen);
        }
    }

    /// Evidence for each alternative.
    pub(super) fn ln(&self, margin: f64) -> [f64; 7] {
        let most = ln_supremum(&self.seen, margin);
        self.ln_predicted.map(|ln| ln - most)
    }
}

/// The margin of this test: up to half of the base rate is borne, because constant rates are never quite constant.
pub(super) fn margin(margin: f64, base_rate: f64) -> f64 {
    margin.max(base_rate / 2.0)
}

/// Whether `calls` of a phase, `share` of them green's, are too few for the first test: the smallest rise that it would
/// catch in 95 % is above what is borne. `ln_needed` is the evidence at which it acts.
pub(super) fn too_thin(rate: f64, margin: f64, share: f64, calls: f64, ln_needed: f64) -> bool {
    let alternative = rate + margin.max(TOLERATED_RISE);
    if alternative >= 1.0 {
        return false;
    }
    let growth = Bet::new(share, rate, margin, alternative).growth(share, rate, alternative);
    calls * growth < SURE * ln_needed
}

fn ln_likelihood(of: u64, hits: u64, chance: f64) -> f64 {
    let hits = hits.min(of);
    let part = |count: u64, ln: f64| if count == 0 { 0.0 } else { real(count) * ln };
    part(hits, chance.ln()) + part(of - hits, (-chance).ln_1p())
}

/// The logarithm of the largest likelihood of `seen` if green's rate is at most blue's plus `margin`.
fn ln_supremum(seen: &Arms, margin: f64) -> f64 {
    let rate = |of: u64, hits: u64| real(hits.min(of)) / real(of.max(1));
    let (green, blue) = (rate(seen.green, seen.green_hits), rate(seen.blue, seen.blue_hits));
    let at =
        |g: f64, b: f64| ln_likelihood(seen.green, seen.green_hits, g) + ln_likelihood(seen.blue, seen.blue_hits, b);
    if seen.green == 0 || green <= blue + margin {
        return at(green, blue);
    }
    if seen.blue == 0 {
        return at(green, (green - margin).max(0.0));
    }
    // On the edge of H0 the likelihood is concave, and its top is between both rates.
    let part = |count: u64, chance: f64| if count == 0 { 0.0 } else { real(count) / chance };
    let slope = |p: f64| {
        let (green_hits, blue_hits) = (seen.green_hits.min(seen.green), seen.blue_hits.min(seen.blue));
        part(blue_hits, p) - part(seen.blue - blue_hits, 1.0 - p) + part(green_hits, p + margin)
            - part(seen.green - green_hits, 1.0 - p - margin)
    };
    let (mut low, mut high) = (blue, green - margin);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if slope(middle) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    let edge = f64::midpoint(low, high);
    at(edge + margin, edge)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analysis::sequential::ledger::ln_mean;

    proptest! {
        /// Whatever rates within H0 are true, none explains what was seen better than the supremum.
        #[test]
        fn the_supremum_is_above_every_member_of_the_null(
            green in 0u64..60, blue in 0u64..200, green_share in 0.0f64..=1.0, blue_share in 0.0f64..=1.0,
            b in 0.001f64..0.999, below in 0.0f64..1.0, margin in 0.0f64..0.1,
        ) {
            let hits = |of: u64, share: f64| (real(of) * share).round() as u64;
            let seen = Arms { green, green_hits: hits(green, green_share), blue, blue_hits: hits(blue, blue_share) };
            let g = ((b + margin) * below).clamp(1e-6, 1.0 - 1e-6);
            let member = ln_likelihood(green, seen.green_hits, g) + ln_likelihood(blue, seen.blue_hits, b);
            prop_assert!(ln_supremum(&seen, margin) >= member - 1e-6);
        }

        #[test]
        fn anything_can_be_asked_of_it(green: u64, green_hits: u64, blue: u64, blue_hits: u64, margin in 0.0f64..=1.0) {
            let mut universal = Universal::default();
            (0..3).for_each(|_| universal.add(&Arms { green, green_hits, blue, blue_hits }, 0.01, margin));
            prop_assert!(universal.ln(margin).iter().all(|ln| !ln.is_nan()));
        }
    }

    #[test]
    fn a_few_errors_of_a_thin_green_are_much() {
        let mut universal = Universal::default();
        universal.add(&Arms { green: 6, green_hits: 4, blue: 60, blue_hits: 0 }, 0.002, 0.001);
        assert!(ln_mean(&universal.ln(0.001)) > 125.0_f64.ln());
    }

    #[test]
    fn busy_fleets_are_not_thin() {
        let needed = 8.0;
        assert!(too_thin(0.002, 0.001, 0.1, 360.0, needed), "an hour of two slots of 20 s");
        assert!(!too_thin(0.002, 0.001, 0.1, 7200.0, needed), "an hour of two a second");
        assert!(!too_thin(0.002, 0.001, 0.3, 1800.0, needed), "a minute of 30 a second, at a later phase");
    }
}
