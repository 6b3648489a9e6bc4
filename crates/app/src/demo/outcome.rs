//! What the demo found, as one object for programs and one table for people.

use bellwether_control::types::Report;
use bellwether_core::{
    analysis::{Finding, Judgement, Verdict},
    id::Side,
    rollout::{AgentView, RolloutView, State},
};
use serde::Serialize;

use super::undone::Rollback;
use crate::{
    failure::Exit,
    view::{finding, mib, trigger},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Completed,
    RolledBack,
    Paused,
    NeedsAttention,
    Failed,
}

impl Outcome {
    pub(crate) fn of(rollout: &RolloutView) -> Self {
        match rollout.state {
            State::Completed | State::Committed => Self::Completed,
            State::RolledBack => Self::RolledBack,
            State::NeedsAttention => Self::NeedsAttention,
            State::PreflightFailed => Self::Failed,
            State::Preflight | State::Progressing { .. } | State::Validating { .. } | State::RollingBack { .. } => {
                if rollout.paused.is_some() {
                    Self::Paused
                } else {
                    Self::Failed
                }
            }
        }
    }

    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Completed => Exit::Done,
            Self::RolledBack => Exit::RolledBack,
            Self::Paused | Self::NeedsAttention => Exit::Undecided,
            Self::Failed => Exit::Error,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Completed => "completed: all agents are on green",
            Self::RolledBack => "rolled back: all agents are on blue",
            Self::Paused => "paused: a person has to decide",
            Self::NeedsAttention => "needs attention: the rollback did not come to its end",
            Self::Failed => "failed",
        }
    }
}

/// `demo --output json`: one object, printed last.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) outcome: Outcome,
    pub(crate) agents: Agents,
    pub(crate) requests: Requests,
    pub(crate) tasks: Tasks,
    pub(crate) phases: Vec<Phase>,
    pub(crate) rollback: Option<Rollback>,
    pub(crate) criteria: Vec<Criterion>,
    pub(crate) trigger: Option<String>,
    /// What was played.
    pub(crate) scenario: Vec<String>,
    pub(crate) peak_memory_bytes: u64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Agents {
    pub(crate) total: usize,
    pub(crate) blue: usize,
    pub(crate) green: usize,
}

/// Counted by the load generator.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Requests {
    pub(crate) total: u64,
    pub(crate) failed: u64,
}

/// Counted by the load generator. `duplicated`: accepted twice.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tasks {
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    /// Accepted, and reported as failed by the agent.
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) agents_cumulative: usize,
    pub(crate) seconds: f64,
    /// Tasks of green that its gate had to go by.
    pub(crate) tasks: u64,
    /// Criteria that so few cannot decide.
    pub(crate) cannot_tell_yet: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Criterion {
    pub(crate) id: String,
    pub(crate) unit: String,
    pub(crate) baseline: Option<f64>,
    pub(crate) value: Option<f64>,
    pub(crate) limit: f64,
    pub(crate) samples: u64,
    pub(crate) verdict: Verdict,
    #[serde(skip)]
    judgement: Judgement,
}

impl Summary {
    pub(crate) fn new(report: Report, agents: &[AgentView], requests: Requests, tasks: Tasks, memory: u64) -> Self {
        let rollout = report.rollout;
        let side = |side| agents.iter().filter(|agent| agent.serving == Some(side)).count();
        let phases = rollout.phases.iter().filter_map(|phase| phase.record.as_ref());
        let phases = phases.filter_map(|record| {
            let seconds = record.ended?.since(record.began).as_secs_f64();
            let judged = || record.report.iter().flat_map(|report| &report.judgements);
            Some(Phase {
                name: record.name.to_string(),
                agents_cumulative: record.agents_cumulative,
                seconds,
                tasks: judged().find(|judgement| judgement.id == "R32").map_or(0, |judgement| judgement.samples),
                cannot_tell_yet: judged()
                    .filter(|judgement| judgement.finding == Finding::CannotTellYet)
                    .map(|judgement| judgement.id.clone())
                    .collect(),
            })
        });
        Self {
            outcome: Outcome::of(&rollout),
            agents: Agents { total: agents.len(), blue: side(Side::Blue), green: side(Side::Green) },
            requests,
            tasks,
            phases: phases.collect(),
            rollback: rollout.rollback.as_ref().map(|record| Rollback::of(&rollout, record)),
            trigger: rollout.rollback.as_ref().map(|rollback| trigger(&rollback.trigger)),
            criteria: report.criteria.into_iter().map(Criterion::from).collect(),
            scenario: Vec::new(),
            peak_memory_bytes: memory,
        }
    }

    pub(crate) fn text(&self) -> Vec<String> {
        let mut lines = vec![String::new(), self.outcome.words().to_owned()];
        lines.extend(self.scenario.iter().cloned());
        lines.push(String::new());
        match &self.rollback {
            Some(rollback) => {
                lines.extend(rollback.text());
                let Agents { total, blue, .. } = self.agents;
                lines.push(format!("serving    {blue} of {total} agents are served by blue"));
            }
            None => {
                lines.extend(self.table());
                lines.push(String::new());
                lines.extend(self.phases.iter().map(Phase::text));
            }
        }
        lines.push(String::new());
        let Requests { total, failed } = self.requests;
        lines.push(format!("counted by the load generator: {total} requests, {failed} failed"));
        let Tasks { submitted, completed, failed, lost, duplicated } = self.tasks;
        lines.push(format!(
            "  {submitted} tasks: {completed} completed, {failed} failed, {lost} lost, {duplicated} accepted twice"
        ));
        lines.push(format!("memory of all processes at its peak: {}", mib(self.peak_memory_bytes)));
        lines
    }

    fn table(&self) -> Vec<String> {
        let mut lines = vec![row("", "metric", "baseline", "measured", "limit", "samples", "verdict")];
        for c in &self.criteria {
            let figure = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
            lines.push(row(
                &c.id,
                &format!("{}, {}", c.judgement.metric, c.unit),
                &figure(c.baseline),
                &figure(c.value),
                &number(c.limit),
                &c.samples.to_string(),
                finding(&c.judgement),
            ));
        }
        lines
    }
}

impl Phase {
    fn text(&self) -> String {
        let Self { name, agents_cumulative, seconds, tasks, cannot_tell_yet } = self;
        let open = match cannot_tell_yet.as_slice() {
            [] => String::new(),
            open => format!("  cannot tell yet: {}", open.join(" ")),
        };
        format!("{name:<12} {agents_cumulative:>4} on green  {seconds:>5.0} s  {tasks:>6} of green's tasks{open}")
    }
}

impl From<Judgement> for Criterion {
    fn from(judgement: Judgement) -> Self {
        Self {
            id: judgement.id.clone(),
            unit: judgement.unit.clone(),
            baseline: judgement.baseline,
            value: judgement.value,
            limit: judgement.limit,
            samples: judgement.samples,
            verdict: judgement.verdict,
            judgement,
        }
    }
}

fn row(id: &str, metric: &str, baseline: &str, value: &str, limit: &str, samples: &str, verdict: &str) -> String {
    format!("{id:<4} {metric:<38} {baseline:>10} {value:>10} {limit:>10} {samples:>8}  {verdict}")
}

/// Three digits where they say something.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || (v - v.round()).abs() < 1e-9 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
