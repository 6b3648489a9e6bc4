//! One load of one simulated server.

use std::time::Duration;

use serde_json::json;

use crate::{
    model_load::{Load, Report, Server},
    reference::{Figure, Row},
};

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What `bench model` counted.
pub(crate) struct Run(Report);

/// With the frozen times, and chance of its own.
pub(crate) fn run(row: &Row, seed: u64, seconds: u64) -> Result<Run, String> {
    let models = NAMES.get(..row.models).ok_or("more models than names")?.join(",");
    let server = Server::simulated(&models, &json!({"seed": seed}))?;
    let greedy = |connections: usize| vec!["--greedy".to_owned(), connections.to_string()];
    let load = Load {
        clients: row.clients,
        models: &models,
        patience: Duration::from_secs(row.patience_s),
        // The real one was measured from the first question on; see docs/sim-ollama.md.
        warm_up: Duration::ZERO,
        span: Duration::from_secs(seconds),
        seed,
        more: if row.greedy > 0 { greedy(row.greedy) } else { Vec::new() },
    };
    let reports = load.run(&[&server.url]).map_err(|why| format!("{}: {why}", row.load))?;
    Ok(Run(reports.into_iter().next().ok_or("nothing was measured")?))
}

impl Run {
    pub(crate) fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::Success => self.0.figure("/success"),
            Figure::AnswersPerSecond => self.0.figure("/answers_per_second"),
            Figure::P95Seconds => self.0.figure("/p95_ms").map(|ms| ms / 1e3),
            Figure::GreedyShare => self.0.figure("/greedy/share"),
            Figure::GreedyTimes => self.0.figure("/greedy/times"),
        }
    }

    /// Processor time of the clients per second.
    pub(crate) fn client_cores(&self) -> f64 {
        self.0.figure("/client_cores").unwrap_or(0.0)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.0.failed()
    }
}
