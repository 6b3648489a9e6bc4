//! Each agent's own pace: its response times in the baseline, drawn towards those of its model as far as they are few.
//!
//! Empirical Bayes on logarithms: within agents the variance σ², between agents of one model τ², both estimated over the
//! whole fleet. From the baseline alone, which is the same stretch of time for all: if blue's paces were learnt further,
//! a common slow-down would be in blue's and not in green's.

use std::collections::BTreeMap;

use super::super::{Tally, exact::real};
use crate::{
    histogram::Histogram,
    id::{AgentName, AgentType, ModelName},
};

/// Agents of one model differ by about so much even where the baseline shows no difference.
const BETWEEN_MIN: f64 = 0.1;
/// What is assumed within agents until there are data: the spread of generations.
const WITHIN_ASSUMED: f64 = 0.6;

/// The logarithm of an agent's pace in microseconds, and how uncertain it is (one standard deviation).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    pub(super) ln: f64,
    pub(super) doubt: f64,
}

/// Count, mean and sum of squared deviations of logarithms.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Sample {
    fn of(histogram: &Histogram) -> Self {
        let mut sample = Self::default();
        for (micros, count) in histogram.iter() {
            let (ln, count) = (micros.max(1.0).ln(), real(count));
            if count > 0.0 {
                let off = ln - sample.mean;
                sample.n += count;
                sample.mean += off * count / sample.n;
                sample.squares += count * off * (ln - sample.mean);
            }
        }
        sample
    }
}

/// The paces of these agents, in their order. None where no agent of the model has a past.
pub(super) fn paces(
    agents: &[(AgentName, AgentType, ModelName)],
    past: &BTreeMap<AgentName, Tally>,
) -> Vec<Option<Pace>> {
    let samples: Vec<(Sample, &ModelName)> = agents
        .iter()
        .map(|(name, _, model)| (past.get(name).map_or_else(Sample::default, |t| Sample::of(&t.response)), model))
        .collect();
    let mut models: BTreeMap<&ModelName, Vec<Sample>> = BTreeMap::new();
    for (sample, model) in samples.iter().filter(|(sample, _)| sample.n > 0.0) {
        models.entry(model).or_default().push(*sample);
    }
    let within = variance_within(&models);
    let between = variance_between(&models, within);
    let centres: BTreeMap<&ModelName, Centre> =
        models.iter().map(|(&model, samples)| (model, Centre::of(samples, within, between))).collect();
    let pace = |(sample, model): &(Sample, &ModelName)| {
        let centre = centres.get(*model)?;
        let own = sample.n / within;
        let prior = 1.0 / between;
        let doubt = 1.0 / (own + prior) + (prior / (own + prior)).powi(2) * centre.variance;
        Some(Pace { ln: (own * sample.mean + prior * centre.mean) / (own + prior), doubt: doubt.sqrt() })
    };
    samples.iter().map(pace).collect()
}

/// Where the agents of a model are on average.
struct Centre {
    mean: f64,
    variance: f64,
}

impl Centre {
    fn of(samples: &[Sample], within: f64, between: f64) -> Self {
        let weights = || samples.iter().map(|s| (1.0 / (between + within / s.n), s.mean));
        let total: f64 = weights().map(|(weight, _)| weight).sum();
        Self { mean: weights().map(|(weight, mean)| weight * mean).sum::<f64>() / total, variance: 1.0 / total }
    }
}

fn variance_within(models: &BTreeMap<&ModelName, Vec<Sample>>) -> f64 {
    // As if ten responses had shown what is assumed.
    let (mut squares, mut degrees) = (10.0 * WITHIN_ASSUMED.powi(2), 10.0);
    for sample in models.values().flatten() {
        squares += sample.squares.max(0.0);
        degrees += (sample.n - 1.0).max(0.0);
    }
    squares / degrees
}

/// By the method of moments (DerSimonian and Laird 1986), models taken together.
fn variance_between(models: &BTreeMap<&ModelName, Vec<Sample>>, within: f64) -> f64 {
    let (mut excess, mut scale) = (0.0, 0.0);
    for samples in models.values().filter(|samples| samples.len() > 1) {
        let weights: f64 = samples.iter().map(|s| s.n / within).sum();
        let squares: f64 = samples.iter().map(|s| (s.n / within).powi(2)).sum();
        let mean = samples.iter().map(|s| s.n / within * s.mean).sum::<f64>() / weights;
        let deviations: f64 = samples.iter().map(|s| s.n / within * (s.mean - mean).powi(2)).sum();
        excess += deviations - (real(samples.len() as u64) - 1.0);
        scale += weights - squares / weights;
    }
    let least = BETWEEN_MIN.powi(2);
    if scale > 0.0 { (excess / scale).max(least) } else { least.max(within / 4.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(times: &[(&str, &str, &[u64])]) -> Vec<Option<Pace>> {
        let agents: Vec<_> =
            times.iter().map(|(name, model, _)| (AgentName::from(*name), "t".into(), ModelName::new(model))).collect();
        let tally = |micros: &[u64]| {
            let mut tally = Tally::default();
            micros.iter().for_each(|&micros| tally.response.record(micros));
            tally
        };
        let past = times.iter().map(|(name, _, micros)| (AgentName::from(*name), tally(micros))).collect();
        paces(&agents, &past)
    }

    #[test]
    fn few_responses_are_drawn_towards_the_model_and_many_are_not() {
        let around = |median: u64| [median / 2, median, 2 * median];
        let many: Vec<u64> = around(90_000).repeat(150);
        let others: Vec<String> = (0..20).map(|n| format!("b{n}")).collect();
        let usual: Vec<u64> = around(60_000).repeat(10);
        let mut times: Vec<(&str, &str, &[u64])> =
            others.iter().map(|name| (name.as_str(), "m", usual.as_slice())).collect();
        times.extend([
            ("few", "m", [90_000].as_slice()),
            ("many", "m", &many),
            ("none", "m", &[]),
            ("alien", "x", &[]),
        ]);
        let paces = fleet(&times);
        let at = |index: usize| paces[index].unwrap().ln.exp();
        assert!((at(0) - 60_000.0).abs() < 2_000.0);
        assert!(at(20) < 75_000.0, "one response moves a pace to {}", at(20));
        assert!((at(21) - 90_000.0).abs() < 2_000.0, "{}", at(21));
        assert!((at(22) - 61_000.0).abs() < 3_000.0);
        assert!(paces[22].unwrap().doubt > 2.0 * paces[21].unwrap().doubt);
        assert_eq!(paces[23], None);
    }

    #[test]
    fn absurd_records_do_no_harm() {
        let absurd: Histogram = serde_json::from_str("[[65535, 18446744073709551615], [0, 1]]").unwrap();
        let sample = Sample::of(&absurd);
        assert!(sample.mean.is_finite() && sample.squares.is_finite());
        assert!(paces(&[], &BTreeMap::new()).is_empty());
    }
}
