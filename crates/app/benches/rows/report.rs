//! The table.

use std::fmt;

use serde::Serialize;

use crate::{
    reference::{Figure, Row},
    run::Run,
};

/// Above this share of a core the clients may be what was measured.
const CLIENT_CORES_MAX: f64 = 0.5;

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) seconds: u64,
    /// Of the rows with several models; of the others there is one.
    pub(crate) runs: u64,
    pub(crate) tolerance: f64,
    pub(crate) rows: Vec<Measured>,
}

#[derive(Serialize)]
pub(crate) struct Measured {
    load: String,
    figures: Vec<Compared>,
    failed: u64,
    /// The most of any run.
    client_cores: f64,
}

#[derive(Serialize)]
struct Compared {
    figure: &'static str,
    reference: f64,
    /// The mean of the runs. `None` where one of them has no such figure.
    simulated: Option<f64>,
    each: Vec<Option<f64>>,
}

impl Compared {
    fn deviation(&self) -> Option<f64> {
        Some(self.simulated? / self.reference - 1.0)
    }
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "runs are few")]
    pub(crate) fn new(row: &Row, runs: &[Run]) -> Self {
        let compared = |(figure, reference)| {
            let each: Vec<Option<f64>> = runs.iter().map(|run| run.figure(figure)).collect();
            let sum: Option<f64> = each.iter().copied().sum();
            Compared { figure: name(figure), reference, simulated: sum.map(|sum| sum / runs.len() as f64), each }
        };
        Self {
            load: row.load.clone(),
            figures: row.figures().map(compared).collect(),
            failed: runs.iter().map(Run::failed).sum(),
            client_cores: runs.iter().map(Run::client_cores).fold(0.0, f64::max),
        }
    }
}

impl Report {
    /// Every figure is as near as the file demands, and no call failed.
    pub(crate) fn is_near(&self) -> bool {
        let near = |compared: &Compared| compared.deviation().is_some_and(|off| off.abs() <= self.tolerance);
        !self.rows.is_empty() && self.rows.iter().all(|row| row.failed == 0 && row.figures.iter().all(near))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the simulated Ollama over sockets, {} s from the first question on\n", self.seconds)?;
        writeln!(f, "{:<38}{:<16}{:>8}{:>11}{:>11}  runs", "load", "figure", "real", "simulated", "deviation")?;
        for row in &self.rows {
            for (at, compared) in row.figures.iter().enumerate() {
                let load = if at == 0 { row.load.as_str() } else { "" };
                write!(f, "{load:<38}{:<16}{:>8}", compared.figure, compared.reference)?;
                match (compared.simulated, compared.deviation()) {
                    (Some(simulated), Some(off)) => {
                        let far = if off.abs() > self.tolerance { "!" } else { " " };
                        write!(f, "{:>11}{:>+9.1} %{far}", shown(simulated), off * 100.0)?;
                    }
                    (None, _) | (_, None) => write!(f, "{:>11}{:>11}!", "-", "-")?,
                }
                for each in &compared.each {
                    write!(f, " {}", each.map_or("-".to_owned(), shown))?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f)?;
        for row in &self.rows {
            if row.failed > 0 {
                writeln!(f, "{}: {} calls were refused or failed", row.load, row.failed)?;
            }
            if row.client_cores > CLIENT_CORES_MAX {
                let percent = row.client_cores * 100.0;
                writeln!(f, "{}: the clients took {percent:.0} % of a core, and may be what was measured", row.load)?;
            }
        }
        let percent = self.tolerance * 100.0;
        if self.is_near() {
            writeln!(f, "passed: each figure is within {percent} % of what was measured on a real server")
        } else {
            writeln!(f, "FAILED: not each figure is within {percent} % of what was measured on a real server")
        }
    }
}

fn name(figure: Figure) -> &'static str {
    match figure {
        Figure::Success => "success",
        Figure::AnswersPerSecond => "answers/s",
        Figure::P95Seconds => "p95, s",
        Figure::GreedyShare => "greedy share",
        Figure::GreedyTimes => "each other's ×",
    }
}

fn shown(figure: f64) -> String {
    let decimals = match figure {
        large if large >= 100.0 => 0,
        large if large >= 10.0 => 1,
        _ => 2,
    };
    format!("{figure:.decimals$}")
}
