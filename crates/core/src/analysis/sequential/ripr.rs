//! The reverse-information-projection e-process (ANALYSIS §2): bets on single outcomes of green and of blue.
//!
//! H0 says that green's chance of a hit is at most blue's plus a margin, whatever blue's is. For an alternative p₁ the
//! bet is the likelihood ratio of "green p₁, blue p̂" against "green q + δ, blue q", where q is the member of H0 that
//! comes closest. Then the expected factor of one outcome is at most 1 for *every* rate of blue, so the product stays
//! fair while blue's rate drifts. It needs the chance that an outcome is green's, nothing else.

use super::super::exact::real;

/// Multiples of p̂ + δ that the error test bets on.
const RISES: [f64; 7] = [1.7, 2.5, 4.0, 7.0, 14.0, 40.0, 120.0];
const RISEN_MAX: f64 = 0.97;
/// Multiples of the odds of p̂ that the latency test bets on.
const ODDS: [f64; 6] = [1.3, 1.7, 2.5, 5.0, 12.0, 40.0];

/// Outcomes and hits of both sides in one stratum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Arms {
    pub(super) green: u64,
    pub(super) green_hits: u64,
    pub(super) blue: u64,
    pub(super) blue_hits: u64,
}

impl Arms {
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.green, other.green),
            (&mut self.green_hits, other.green_hits),
            (&mut self.blue, other.blue),
            (&mut self.blue_hits, other.blue_hits),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// The logarithms by which one outcome changes the evidence for one alternative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bet {
    green: Stake,
    blue: Stake,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Stake {
    hit: f64,
    miss: f64,
}

impl Stake {
    const NONE: Self = Self { hit: 0.0, miss: 0.0 };

    fn new(claimed: f64, null: f64) -> Self {
        Self { hit: (claimed / null).ln(), miss: ((1.0 - claimed) / (1.0 - null)).ln() }
    }

    fn ln(self, of: u64, hits: u64) -> f64 {
        let hits = hits.min(of);
        self.hit * real(hits) + self.miss * real(of - hits)
    }
}

impl Bet {
    /// Bets that green's chance is `alternative` where blue's is `rate`, if `share` of the outcomes are green's. Where
    /// there is nothing to bet on, such as a single side, the bet is none.
    pub(super) fn new(share: f64, rate: f64, margin: f64, alternative: f64) -> Self {
        let sound = share > 0.0
            && share < 1.0
            && rate > 1e-9
            && margin >= 0.0
            && rate + margin < alternative
            && alternative < 1.0;
        if !sound {
            return Self { green: Stake::NONE, blue: Stake::NONE };
        }
        let null = least_favourable(share, rate, margin, alternative);
        Self { green: Stake::new(alternative, null + margin), blue: Stake::new(rate, null) }
    }

    pub(super) fn ln(&self, arms: &Arms) -> f64 {
        self.green.ln(arms.green, arms.green_hits) + self.blue.ln(arms.blue, arms.blue_hits)
    }

    /// What one outcome adds on average if the alternative is true.
    pub(super) fn growth(&self, share: f64, rate: f64, alternative: f64) -> f64 {
        let mean = |stake: Stake, chance: f64| chance * stake.hit + (1.0 - chance) * stake.miss;
        share * mean(self.green, alternative) + (1.0 - share) * mean(self.blue, rate)
    }
}

/// Rates of green's errors to bet on.
pub(super) fn risen(rate: f64, margin: f64) -> [f64; 7] {
    RISES.map(|rise| ((rate + margin) * rise).min(RISEN_MAX))
}

/// Rates of green's slow responses to bet on.
pub(super) fn likelier(rate: f64) -> [f64; 6] {
    let odds = rate / (1.0 - rate);
    ODDS.map(|times| odds * times / (1.0 + odds * times))
}

/// The q of `rate..=alternative - margin` with
/// π[−p₁/(q+δ) + (1−p₁)/(1−q−δ)] + (1−π)[−p̂/q + (1−p̂)/(1−q)] = 0, multiplied out to a cubic.
fn least_favourable(share: f64, rate: f64, margin: f64, alternative: f64) -> f64 {
    if margin == 0.0 {
        return share * alternative + (1.0 - share) * rate;
    }
    let slope = |q: f64| {
        let raised = q + margin;
        share * (raised - alternative) * q * (1.0 - q) + (1.0 - share) * (q - rate) * raised * (1.0 - raised)
    };
    root(rate, alternative - margin, slope)
}

/// Where `f`, at most 0 at `low` and at least 0 at `high`, crosses 0: false position, where an end that stays twice
/// is weighed half (the Illinois rule). Bisection would take five times as many steps.
fn root(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (mut at_low, mut at_high) = (f(low), f(high));
    let (mut middle, mut side) = (low, 0);
    for _ in 0..80 {
        if at_high - at_low <= 0.0 || high - low <= 1e-15 * high {
            break;
        }
        middle = (low * at_high - high * at_low) / (at_high - at_low);
        let at = f(middle);
        if at == 0.0 {
            break;
        } else if at < 0.0 {
            (low, at_low) = (middle, at);
            at_high /= if side == -1 { 2.0 } else { 1.0 };
            side = -1;
        } else {
            (high, at_high) = (middle, at);
            at_low /= if side == 1 { 2.0 } else { 1.0 };
            side = 1;
        }
    }
    middle
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::analysis::sequential::ledger::ln_mean;

    fn counts(case: &Value, key: &str) -> Vec<u64> {
        case[key].as_array().unwrap().iter().map(|x| x.as_u64().unwrap()).collect()
    }

    fn trace(case: &Value) -> Vec<(u64, f64)> {
        let points = case["expect"]["trace"].as_array().unwrap();
        points.iter().map(|point| (point[0].as_u64().unwrap(), point[1].as_f64().unwrap())).collect()
    }

    #[test]
    fn errors_agree_with_the_reference_vectors() {
        let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/ripr_error.json")).unwrap();
        let params = &vectors["params"];
        let number = |key: &str| params[key].as_f64().unwrap();
        let (margin, share) = (number("delta"), 13.0 / 131.0);
        assert_eq!(params["pi"], "13/131");
        let mut points = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let [ng, kg, nb, kb] = ["ng", "kg", "nb", "kb"].map(|key| counts(case, key));
            let (mut seen, mut ln, mut bets, mut first) = (Arms::default(), [0.0; 7], Vec::new(), None);
            let mut ln_at = vec![0.0];
            for second in 0..ng.len() {
                if (second as u64).is_multiple_of(params["refresh_s"].as_u64().unwrap()) {
                    let rate = (real(seen.blue_hits) + number("a0")) / (real(seen.blue) + number("n0"));
                    bets = risen(rate, margin).map(|to| Bet::new(share, rate, margin, to)).to_vec();
                }
                let arms = Arms { green: ng[second], green_hits: kg[second], blue: nb[second], blue_hits: kb[second] };
                ln.iter_mut().zip(&bets).for_each(|(ln, bet)| *ln += bet.ln(&arms));
                seen.add(&arms);
                ln_at.push(ln_mean(&ln));
                if ln_mean(&ln) >= -number("alpha").ln() {
                    first.get_or_insert(second as u64 + 1);
                }
            }
            assert_eq!(first, case["expect"]["first_rollback_s"].as_u64(), "case {}", case["id"]);
            for (second, want) in trace(case) {
                let got = ln_at[second as usize];
                assert!((got - want).abs() < 1e-6, "case {} at {second} s: {got} is not {want}", case["id"]);
                points += 1;
            }
        }
        assert!(points >= 60, "the vectors hold {points} points");
    }

    #[test]
    fn latency_agrees_with_the_reference_vectors() {
        let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/qr_latency.json")).unwrap();
        assert_eq!(vectors["pi"], "13/131");
        let share = 13.0 / 131.0;
        let mut points = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let (u, rho) = (case["u"].as_f64().unwrap(), case["rho"].as_f64().unwrap());
            let latencies = case["latency_s"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
            let events = latencies.zip(case["arm"].as_str().unwrap().chars().map(|arm| arm == '1'));
            let (mut blue, mut ln, mut level, mut first) = (Vec::new(), [0.0; 6], None, None);
            let mut ln_at = vec![0.0];
            for (index, (latency, green)) in events.enumerate() {
                if index % 100 == 0 && blue.len() >= 100 {
                    blue.sort_by(f64::total_cmp);
                    let x = blue[(u * blue.len() as f64).ceil() as usize - 1];
                    let above = blue.iter().filter(|&&past| past > x).count() as f64;
                    let rate = ((above + 1.0) / (blue.len() as f64 + 2.0)).clamp(1e-3, 0.9);
                    level = Some((x, likelier(rate).map(|to| Bet::new(share, rate, 0.0, to))));
                }
                if let Some((x, bets)) = &level {
                    let arms = if green {
                        Arms { green: 1, green_hits: u64::from(latency > rho * x), ..Arms::default() }
                    } else {
                        Arms { blue: 1, blue_hits: u64::from(latency > *x), ..Arms::default() }
                    };
                    ln.iter_mut().zip(bets).for_each(|(ln, bet)| *ln += bet.ln(&arms));
                }
                if !green {
                    blue.push(latency);
                }
                ln_at.push(ln_mean(&ln));
                if ln_mean(&ln) >= -vectors["alpha"].as_f64().unwrap().ln() {
                    first.get_or_insert(index as u64 + 1);
                }
            }
            assert_eq!(first, case["expect"]["first_rollback_event"].as_u64(), "case {}", case["id"]);
            for (event, want) in trace(case) {
                let got = ln_at[event as usize];
                assert!((got - want).abs() < 1e-6, "case {} at {event}: {got} is not {want}", case["id"]);
                points += 1;
            }
        }
        assert!(points >= 40, "the vectors hold {points} points");
    }

    proptest! {
        /// The property that the whole rests on: the mean factor is at most 1 for every rate of blue.
        #[test]
        fn no_rate_of_blue_makes_a_bet_unfair(
            share in 0.001f64..0.999, rate in 1e-4f64..0.5, margin in 0.0f64..0.05, index in 0usize..7, true_rate in 0.0f64..0.95,
        ) {
            let to = risen(rate, margin)[index];
            let bet = Bet::new(share, rate, margin, to);
            let mean = |stake: Stake, chance: f64| chance * stake.hit.exp() + (1.0 - chance) * stake.miss.exp();
            let factor = share * mean(bet.green, true_rate + margin) + (1.0 - share) * mean(bet.blue, true_rate);
            prop_assert!(factor <= 1.0 + 1e-9, "{}", factor);
        }

        #[test]
        fn anything_can_be_asked_of_it(
            share: f64, rate: f64, margin: f64, to: f64, green: u64, green_hits: u64, blue: u64, blue_hits: u64,
        ) {
            let ln = Bet::new(share, rate, margin, to).ln(&Arms { green, green_hits, blue, blue_hits });
            prop_assert!(!ln.is_nan());
        }
    }
}
