//! What was measured on a real server, as it stands in `frozen.json` beside the parameters that reproduce it.

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Reference {
    /// What a figure may be off, either way.
    pub(crate) tolerance: f64,
    pub(crate) measured: Vec<Row>,
}

/// One load, and the figures that were taken of it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) load: String,
    /// With one connection each.
    pub(crate) clients: usize,
    /// Connections of one more client; zero where there is none.
    pub(crate) greedy: usize,
    pub(crate) models: usize,
    pub(crate) patience_s: u64,
    success: Option<f64>,
    answers_per_second: Option<f64>,
    p95_s: Option<f64>,
    greedy_share: Option<f64>,
    greedy_times: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    Success,
    AnswersPerSecond,
    P95Seconds,
    GreedyShare,
    /// Its answers over those of each other client.
    GreedyTimes,
}

impl Reference {
    pub(crate) fn read() -> Self {
        serde_json::from_str(include_str!("frozen.json")).expect("the file is part of the program, and tests read it")
    }
}

impl Row {
    pub(crate) fn figures(&self) -> impl Iterator<Item = (Figure, f64)> {
        [
            (Figure::Success, self.success),
            (Figure::AnswersPerSecond, self.answers_per_second),
            (Figure::P95Seconds, self.p95_s),
            (Figure::GreedyShare, self.greedy_share),
            (Figure::GreedyTimes, self.greedy_times),
        ]
        .into_iter()
        .filter_map(|(figure, value)| Some((figure, value?)))
    }
}
