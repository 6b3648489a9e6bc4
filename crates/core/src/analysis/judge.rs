//! The gate: every criterion judged once, at the end of a bake, over the window since the bake began.
//!
//! A fixed horizon makes fixed-sample tests valid. Each further look after an extension spends its part of the
//! level, so the number of looks is fixed before the first; a look beyond it has no level left and shows no harm.

use std::collections::BTreeSet;

use super::{
    Baseline, Finding, GateReport, Judgement, Tally, Verdict, Window, errors,
    latency::{self, Quantile},
    matched::Matched,
    rate,
    share::{self, Floor, Share},
    usage::{self, Resource},
    window::Levels,
};
use crate::{
    id::{AgentName, Side},
    spec::{Criteria, GatePolicy, Require},
};

/// The chance that any gate of a healthy rollout fails, were every criterion at the edge of its limit.
pub const ALPHA: f64 = 0.01;

/// How often a rollout is judged, decided before it starts, so that [`ALPHA`] covers all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// This look at this gate, from 1.
    pub look: u32,
    /// Looks that each gate may take: 1, and one for each extension.
    pub looks_max: u32,
    /// Gates of the rollout.
    pub gates: u32,
}

impl Looks {
    /// The level of this look; 0 where the looks are used up.
    pub fn alpha(self) -> f64 {
        if self.look == 0 || self.look > self.looks_max {
            return 0.0;
        }
        ALPHA / (f64::from(self.looks_max) * f64::from(self.gates.max(1)))
    }
}

pub struct JudgeInput<'a> {
    pub criteria: &'a Criteria,
    pub gate: &'a GatePolicy,
    pub baseline: &'a Baseline,
    /// Since the bake of this phase began: green's outcomes, and those of the blue agents beside it.
    pub phase: &'a Window,
    /// Agents whose active instance is green.
    pub green_agents: &'a BTreeSet<AgentName>,
    pub looks: Looks,
}

/// Judges R30 to R37, and the median of the response time as `R12`.
pub fn judge(input: &JudgeInput<'_>) -> GateReport {
    let JudgeInput { criteria, gate, baseline, phase, green_agents, looks } = *input;
    let terms = Terms { criteria, gate, alpha: looks.alpha() };
    let before = baseline.window();
    let by_outcomes = Matched::new(before, phase, true, Tally::outcomes);
    let by_responses = Matched::new(before, phase, true, Tally::responses);
    let green = phase.tally(Side::Green);
    let mut control = phase.tally(Side::Blue);
    if control.outcomes() == 0 {
        control = before.total();
    }
    let judgements = vec![
        rate::judge(&terms, baseline, phase),
        latency::judge(&terms, &by_responses, &median(criteria)),
        latency::judge(&terms, &by_responses, &p95(criteria)),
        errors::judge(&terms, &by_outcomes),
        usage::judge(&terms, baseline, phase, green_agents, &memory(criteria)),
        usage::judge(&terms, baseline, phase, green_agents, &cpu(criteria)),
        share::judge(&terms, calls(&green), calls(&control), &model_success(criteria)),
        share::availability(&terms, before, phase),
        share::judge(&terms, tasks(&green, 0), tasks(&control, 0), &completion(criteria)),
    ];
    GateReport { judgements, last_second: phase.last_second() }
}

/// What a criterion is judged under.
pub(super) struct Terms<'a> {
    pub(super) criteria: &'a Criteria,
    pub(super) gate: &'a GatePolicy,
    pub(super) alpha: f64,
}

impl Terms<'_> {
    /// The level of one criterion: its part of the look's. The parts of all criteria sum to 1: errors 0.40, two
    /// quantiles 0.12 each, memory and CPU 0.10 each, rate 0.06, model calls and completion 0.05 each.
    pub(super) fn alpha(&self, part: f64) -> f64 {
        self.alpha * part
    }
}

pub(super) fn median(criteria: &Criteria) -> Quantile {
    Quantile { id: "R12", metric: "response time, median", level: 0.5, ratio: criteria.latency_p50_max }
}

pub(super) fn p95(criteria: &Criteria) -> Quantile {
    Quantile { id: "R31", metric: "response time, p95", level: 0.95, ratio: criteria.latency_p95_max }
}

#[expect(clippy::cast_precision_loss, reason = "bytes of memory fit 53 bits")]
pub(super) fn memory(criteria: &Criteria) -> Resource {
    Resource {
        id: "R33",
        metric: "memory per agent",
        unit: "MiB",
        per_unit: f64::from(1 << 20),
        ratio: criteria.memory_max,
        floor: criteria.memory_floor_bytes as f64,
        level: Levels::memory_bytes,
    }
}

pub(super) fn cpu(criteria: &Criteria) -> Resource {
    Resource {
        id: "R34",
        metric: "CPU per agent",
        unit: "cores",
        per_unit: 1.0,
        ratio: criteria.cpu_max,
        floor: criteria.cpu_floor_cores,
        level: Levels::cpu_cores,
    }
}

pub(super) fn model_success(criteria: &Criteria) -> Floor {
    Floor { id: "R35", metric: "model call success", of_what: "model calls", floor: criteria.model_success_min }
}

pub(super) fn completion(criteria: &Criteria) -> Floor {
    Floor { id: "R37", metric: "task completion", of_what: "tasks", floor: criteria.completion_min }
}

pub(super) fn calls(tally: &Tally) -> Share {
    Share { hits: tally.calls_succeeded, of: tally.calls_succeeded.saturating_add(tally.calls_failed) }
}

/// A lost lease is queued again, so only what failed or was given up did not complete.
pub(super) fn tasks(tally: &Tally, given_up: u64) -> Share {
    Share { hits: tally.completed, of: tally.completed.saturating_add(tally.failed).saturating_add(given_up) }
}

/// A judgement in the making.
pub(super) struct Draft(Judgement);

impl Draft {
    pub(super) fn new(id: &str, metric: &str) -> Self {
        Self(Judgement {
            id: id.to_owned(),
            metric: metric.to_owned(),
            unit: String::new(),
            baseline: None,
            value: None,
            limit: 0.0,
            samples: 0,
            finding: Finding::CannotTellYet,
            verdict: Verdict::Inconclusive,
            smallest_harm: None,
            why: String::new(),
        })
    }

    pub(super) fn samples(mut self, samples: u64) -> Self {
        self.0.samples = samples;
        self
    }

    pub(super) fn limit(mut self, limit: f64, unit: &str) -> Self {
        self.0.limit = if limit.is_finite() { limit } else { f64::MAX };
        unit.clone_into(&mut self.0.unit);
        self
    }

    pub(super) fn measured(self, baseline: f64, value: f64) -> Self {
        self.baseline(baseline).value(value)
    }

    pub(super) fn baseline(mut self, baseline: f64) -> Self {
        self.0.baseline = Some(baseline).filter(|x| x.is_finite());
        self
    }

    pub(super) fn baseline_percent(self, share: Option<f64>) -> Self {
        match share {
            Some(share) => self.baseline(share * 100.0),
            None => self,
        }
    }

    pub(super) fn value(mut self, value: f64) -> Self {
        self.0.value = Some(value).filter(|x| x.is_finite());
        self
    }

    pub(super) fn smallest(mut self, harm: Option<f64>) -> Self {
        self.0.smallest_harm = harm.filter(|x| x.is_finite());
        self
    }

    /// Nothing can be told.
    pub(super) fn open(mut self, why: impl Into<String>) -> Judgement {
        self.0.why = why.into();
        self.0
    }

    pub(super) fn find(mut self, require: Require, finding: Finding, why: String) -> Judgement {
        self.0.finding = finding;
        self.0.verdict = match (finding, require) {
            (Finding::Harm, _) => Verdict::Fail,
            (Finding::Proved, _) | (Finding::NoHarmSeen, Require::Guard) => Verdict::Pass,
            (Finding::NoHarmSeen, Require::Proof) | (Finding::CannotTellYet, _) => Verdict::Inconclusive,
        };
        self.0.why = why;
        self.0
    }
}
