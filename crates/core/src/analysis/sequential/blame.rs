//! Whom evidence points at, and how it is told.

use super::{
    super::{
        exact::real,
        words::{count, number, percent, points},
    },
    Metric,
    ripr::Arms,
    roster::{Member, Roster, Trials},
};
use crate::id::{AgentName, AgentType};

/// Where the whole fleet carries the evidence, an agent is named if chance explains its share no better than this.
const CLEARLY: f64 = 0.01;
/// Odds beyond this are no longer told by number.
const ODDS_TOLD_MAX: f64 = 1e6;

/// The types whose evidence stands by itself: e-BH at `alpha` (Wang and Ramdas 2022) on the logarithms of e-values.
pub(super) fn types(lns: &[f64], alpha: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lns.len()).collect();
    order.sort_by(|&a, &b| lns[b].total_cmp(&lns[a]));
    let needed = (real(lns.len() as u64) / alpha).ln();
    let carries = |rank: usize| lns[order[rank - 1]] >= needed - real(rank as u64).ln();
    let many = (1..=order.len()).rev().find(|&rank| carries(rank)).unwrap_or(0);
    order.truncate(many);
    order.sort_unstable();
    order
}

/// Agents on green to blame: those of the blamed types that did harm; where no type stands out, those that are
/// clearly above `rate` themselves.
pub(super) fn agents(
    roster: &Roster,
    types: &[usize],
    harm: impl Fn(&Member) -> Trials,
    rate: impl Fn(usize) -> f64,
    common: bool,
) -> Vec<AgentName> {
    let clearly = |member: &&Member| harm(member).clearly_above(rate(member.kind), CLEARLY);
    let greens = || roster.members().iter().filter(|member| types.is_empty() || types.contains(&member.kind));
    // A share of healthy responses is slow as well, so being slow now and then is nothing to be named for.
    let named: Vec<AgentName> = if types.is_empty() || common {
        greens().filter(clearly).map(|member| member.name.clone()).collect()
    } else {
        Vec::new()
    };
    if !named.is_empty() || types.is_empty() {
        return named;
    }
    greens().filter(|member| harm(member).hits > 0).map(|member| member.name.clone()).collect()
}

/// The evidence in one plain sentence.
pub(super) struct Sentence<'a> {
    pub(super) metric: Metric,
    /// The margin of the rate, or the ratio of the times.
    pub(super) margin: f64,
    pub(super) arms: Arms,
    pub(super) types: &'a [AgentType],
    pub(super) odds: f64,
    pub(super) threshold: f64,
}

impl Sentence<'_> {
    pub(super) fn tell(&self) -> String {
        let share = |hits: u64, of: u64| percent(real(hits) / real(of.max(1)));
        let Arms { green, green_hits, blue, blue_hits } = self.arms;
        let seen = match self.metric {
            Metric::Errors => format!(
                "green began to fail in {} of {} outcomes ({}), blue in {} of {} ({})",
                count(green_hits),
                count(green),
                share(green_hits, green),
                count(blue_hits),
                count(blue),
                share(blue_hits, blue),
            ),
            Metric::Latency(u) => format!(
                "{} of green's {} responses took longer than {} times {}, {} of blue's {} longer than that itself",
                share(green_hits, green),
                count(green),
                number(self.margin),
                quantile(u),
                share(blue_hits, blue),
                count(blue),
            ),
        };
        let worse = match self.metric {
            Metric::Errors => format!("worse by more than {}", points(self.margin)),
            Metric::Latency(_) => format!("slower by more than {} times", number(self.margin)),
        };
        let odds = if self.odds > ODDS_TOLD_MAX { "more than a million".to_owned() } else { count(self.odds as u64) };
        let whose = match self.types {
            [] => String::new(),
            [only] => format!("type {only}: "),
            many => format!("types {}: ", many.iter().map(AgentType::as_str).collect::<Vec<_>>().join(", ")),
        };
        format!(
            "{whose}{seen}; the odds that green is {worse} are {odds} to 1, {} are enough",
            count(self.threshold as u64)
        )
    }
}

fn quantile(u: f64) -> String {
    if u == 0.5 { "blue's median".to_owned() } else { format!("blue's {}th percentile", number(u * 100.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_as_far_as_their_evidence_goes() {
        let lns = |es: &[f64]| es.iter().map(|e: &f64| e.ln()).collect::<Vec<_>>();
        assert_eq!(types(&lns(&[1.0, 600.0, 90.0, 0.2]), 0.01), [1]);
        assert_eq!(types(&lns(&[1.0, 390.0, 210.0, 0.2]), 0.01), [1, 2]);
        assert_eq!(types(&lns(&[1.0, 390.0, 90.0, 0.2]), 0.01), [0; 0]);
        assert_eq!(types(&[], 0.01), [0; 0]);
    }

    #[test]
    fn sentences_carry_the_numbers() {
        let arms = Arms { green: 310, green_hits: 31, blue: 2700, blue_hits: 3 };
        let (odds, threshold) = (3412.7, 125.0);
        let told = |metric, margin, types: &[AgentType], odds| {
            Sentence { metric, margin, arms, types, odds, threshold }.tell()
        };
        assert_eq!(
            told(Metric::Errors, 0.001, &[], odds),
            "green began to fail in 31 of 310 outcomes (10 %), blue in 3 of 2,700 (0.111 %); the odds that green is \
             worse by more than 0.1 points are 3,412 to 1, 125 are enough"
        );
        assert_eq!(
            told(Metric::Latency(0.95), 1.5, &["data".into(), "system".into()], f64::MAX),
            "types data, system: 10 % of green's 310 responses took longer than 1.5 times blue's 95th percentile, \
             0.111 % of blue's 2,700 longer than that itself; the odds that green is slower by more than 1.5 times \
             are more than a million to 1, 125 are enough"
        );
    }
}
