//! How long tasks take while their agents are moved, against before: the soak's fleet, with nobody killed.

use std::time::Duration;

use serde::Serialize;

use crate::{
    options::Options,
    soak_run::{self, Every, Plan},
};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rollout {
    pub(crate) agents: usize,
    pub(crate) rate: f64,
    pub(crate) windows: Vec<Window>,
    /// p99 during the rollout over p99 before.
    pub(crate) ratio: Option<f64>,
    pub(crate) violations: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) name: String,
    pub(crate) completed: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

/// So many tasks that the part before the rollout is long enough for a 99th percentile.
const SECONDS: f64 = 240.0;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand tasks")]
pub(crate) fn measure(options: &Options) -> Result<Rollout, String> {
    let plan = Plan {
        agents: options.agents,
        tasks: (options.rate * SECONDS) as u64,
        rate: options.rate,
        seed: options.seed,
        kills: Every::default(),
        answer: Duration::from_millis(50),
        baseline: Duration::from_secs(5),
        bake: Duration::from_secs(5),
        settle: Duration::from_secs(60),
    };
    let outcome = soak_run::run(&plan, &|text| eprintln!("{text}"))?;
    let windows: Vec<Window> = outcome
        .account
        .windows
        .iter()
        .map(|it| Window { name: it.name.clone(), completed: it.completed, p50_ms: it.p50_ms, p99_ms: it.p99_ms })
        .collect();
    let p99 = |name: &str| windows.iter().find(|window| window.name == name).and_then(|window| window.p99_ms);
    let ratio = p99("before").zip(p99("rollout")).map(|(before, during)| during / before);
    let violations = outcome.violations(&plan);
    Ok(Rollout { agents: plan.agents, rate: plan.rate, windows, ratio, violations })
}
