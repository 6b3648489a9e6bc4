//! The table, and what has to hold.

use std::fmt;

use serde::Serialize;

use crate::run::Figures;

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) seconds: u32,
    pub(crate) rounds: u32,
    pub(crate) rows: Vec<Row>,
}

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) engine: String,
    pub(crate) load: String,
    pub(crate) models: usize,
    pub(crate) straight: Figures,
    pub(crate) gateway: Figures,
}

impl Row {
    fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let mut miss = |what: String| missed.push(format!("{}, {}: {what}", self.engine, self.load));
        if self.gateway.failed > 0 {
            miss(format!("{} calls failed through the gateway: {}", self.gateway.failed, self.gateway.causes));
        }
        if self.models > 1 && self.gateway.answers_per_second < self.straight.answers_per_second {
            miss("fewer answers through the gateway than straight".to_owned());
        }
        missed
    }
}

impl Report {
    pub(crate) fn has_passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.missed().is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "straight and through the gateway by turns, {} rounds of {} s each, patience 10 s\n",
            self.rounds, self.seconds
        )?;
        write!(f, "{:<22}{:<24}{:<10}{:>11}{:>9}", "engine", "load", "way", "answers/s", "success")?;
        writeln!(f, "{:>9}{:>9}{:>8}{:>10}", "p95, s", "gave up", "failed", "switches")?;
        for row in &self.rows {
            way(f, &row.engine, &row.load, "straight", &row.straight)?;
            way(f, "", "", "gateway", &row.gateway)?;
            let over = |of: fn(&Figures) -> Option<f64>| match (of(&row.gateway), of(&row.straight)) {
                (Some(gateway), Some(straight)) if straight > 0.0 => format!("{:.2}×", gateway / straight),
                _ => "–".to_owned(),
            };
            write!(f, "{:<46}{:<10}{:>11}", "", "ratio", over(|it| Some(it.answers_per_second)))?;
            write!(f, "{:>9}{:>9}", over(|it| it.success), over(|it| it.p95_ms))?;
            writeln!(f, "{:>27}", over(per_answer))?;
        }
        writeln!(f, "\nratio of the switches: per answer")?;
        for missed in self.rows.iter().flat_map(Row::missed) {
            writeln!(f, "missed: {missed}")?;
        }
        writeln!(f, "{}", if self.has_passed() { "passed" } else { "FAILED" })
    }
}

#[expect(clippy::cast_precision_loss, reason = "switches are few")]
fn per_answer(figures: &Figures) -> Option<f64> {
    Some(figures.switches? as f64 / figures.answers_per_second)
}

fn way(f: &mut fmt::Formatter<'_>, engine: &str, load: &str, way: &str, figures: &Figures) -> fmt::Result {
    let shown = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
    let percent = figures.success.map_or("–".to_owned(), |share| format!("{:.1} %", share * 100.0));
    write!(f, "{engine:<22}{load:<24}{way:<10}{:>11.1}{percent:>9}", figures.answers_per_second)?;
    write!(f, "{:>9}{:>9}{:>8}", shown(figures.p95_ms.map(|ms| ms / 1e3)), figures.given_up, figures.failed)?;
    writeln!(f, "{:>10}", figures.switches.map_or("–".to_owned(), |switches| switches.to_string()))
}
