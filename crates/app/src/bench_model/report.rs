//! What was measured, for programs. [`super::text`] has it for people.

use serde::Serialize;

use super::{Options, figures::Figures, question::Api};

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) clients: usize,
    /// Connections of a client beside the others.
    pub(crate) greedy: Option<usize>,
    pub(crate) models: Vec<String>,
    pub(crate) api: Api,
    pub(crate) stream: bool,
    pub(crate) patience_ms: u64,
    pub(crate) think_ms: u64,
    pub(crate) rounds: u32,
    /// Of one round, and before it.
    pub(crate) for_ms: u64,
    pub(crate) warm_up_ms: u64,
    pub(crate) tokens: u32,
    pub(crate) prompt_tokens: usize,
    /// Share of the clients that leave before they are answered.
    pub(crate) leave: f64,
    pub(crate) seed: u64,
    /// Stopped by a signal; what was measured until then stands here.
    pub(crate) interrupted: bool,
    pub(crate) endpoints: Vec<Measured>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    /// A for the first address, B for the second, …
    pub(crate) label: char,
    pub(crate) url: String,
    /// All rounds together.
    pub(crate) figures: Figures,
    /// Absent for the first.
    pub(crate) to_first: Option<Ratios>,
    pub(crate) rounds: Vec<Figures>,
}

/// How often the figure of the first address.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratios {
    pub(crate) answers_per_second: Option<f64>,
    pub(crate) p50: Option<f64>,
    pub(crate) p95: Option<f64>,
}

impl Ratios {
    fn of(figures: &Figures, first: &Figures) -> Self {
        let over = |figure: Option<f64>, first: Option<f64>| Some(figure? / first.filter(|first| *first > 0.0)?);
        Self {
            answers_per_second: over(Some(figures.answers_per_second), Some(first.answers_per_second)),
            p50: over(figures.p50_ms, first.p50_ms),
            p95: over(figures.p95_ms, first.p95_ms),
        }
    }
}

/// Above this share of a core the figures may be those of the load client.
pub(super) const CLIENT_CORES_MAX: f64 = 0.5;

impl Report {
    /// `measured` has, for each address, all rounds together and each of them.
    pub(super) fn new(options: &Options, interrupted: bool, measured: Vec<(Figures, Vec<Figures>)>) -> Self {
        let first = measured.first().map(|(figures, _)| figures.clone());
        let labelled = ('A'..='Z').zip(&options.endpoints).zip(measured);
        let endpoints = labelled.map(|((label, endpoint), (figures, rounds))| Measured {
            label,
            url: endpoint.url.clone(),
            to_first: first.as_ref().filter(|_| label != 'A').map(|first| Ratios::of(&figures, first)),
            figures,
            rounds,
        });
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            clients: options.clients,
            greedy: options.greedy,
            models: options.models.clone(),
            api: options.api,
            stream: options.stream,
            patience_ms: millis(options.patience),
            think_ms: millis(options.think),
            rounds: options.rounds,
            for_ms: millis(options.span),
            warm_up_ms: millis(options.warm_up),
            tokens: options.tokens,
            prompt_tokens: options.prompt_tokens,
            leave: options.leave,
            seed: options.seed,
            interrupted,
            endpoints: endpoints.collect(),
        }
    }

    /// Every address gave answers for as long as was asked for.
    pub(crate) fn is_whole(&self) -> bool {
        !self.interrupted && self.endpoints.iter().all(|measured| measured.figures.answers > 0)
    }
}
