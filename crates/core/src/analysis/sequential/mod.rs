//! Evidence against green that is valid at every look (ANALYSIS §2): errors and latency, over all phases.

use super::Baseline;
use crate::{
    id::{AgentName, AgentType, ModelName},
    observation::Second,
    time::UnixMillis,
};

pub struct SequentialSetup<'a> {
    pub agents: &'a [(AgentName, AgentType, ModelName)],
    /// δ of the error test.
    pub error_margin: f64,
    /// ρ of the latency test; none switches it off.
    pub latency_ratio: Option<f64>,
    /// Evidence at which a rollout is rolled back: 1/α in all.
    pub alpha: f64,
    pub baseline: &'a Baseline,
}

/// Running evidence against green. Memory grows with the fleet, never with time.
pub struct Sequential {}

/// Harm that the evidence shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Harm {
    pub metric: Metric,
    /// Odds against "green is no worse", and those at which it acts.
    pub odds: f64,
    pub threshold: f64,
    /// Outcomes and harmful ones of green and of blue since the phase began: onsets of errors, or slow ones.
    pub green: (u64, u64),
    pub blue: (u64, u64),
    pub agents: Vec<AgentName>,
    pub types: Vec<AgentType>,
    /// The first harmful outcome of green in the evidence.
    pub began: UnixMillis,
    /// One plain sentence with the numbers.
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    Errors,
    /// At this quantile.
    Latency(f64),
}

impl Sequential {
    pub fn new(_setup: &SequentialSetup<'_>) -> Self {
        Self {}
    }

    /// Takes a closed second; records up to the last number seen are ignored.
    pub fn second(&mut self, _second: &Second) {}

    /// A phase begins: evidence of late onset starts afresh beside that of the whole.
    pub fn phase(&mut self) {}

    /// What the evidence shows now, if it passes its threshold.
    pub fn harm(&self) -> Option<Harm> {
        None
    }

    /// More failures of one agent in a row than this do not happen by chance (ANALYSIS §3.4).
    pub fn streak_max(&self) -> u64 {
        u64::MAX
    }
}
