//! The table.

use std::fmt;

use serde::Serialize;

use crate::run::figure::{Figure, Goal, Unit};

#[derive(Serialize)]
pub(crate) struct Report {
    seconds: u64,
    loads: Vec<Measured>,
    /// Each goal is met.
    pub(crate) passed: bool,
}

#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) load: &'static str,
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(seconds: u64, loads: Vec<Measured>) -> Self {
        let passed = loads.iter().all(|load| load.figures.iter().all(Figure::is_met));
        Self { seconds, loads, passed }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Measured { name, load, figures } in &self.loads {
            writeln!(f, "{name}: {load}")?;
            writeln!(f, "  {:<24}{:>10}{:>10}{:>12}", "", "direct", "gateway", "goal")?;
            for figure in figures {
                let Figure { name, unit, direct, gateway, goal } = figure;
                let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| shown(*unit, value));
                let wanted = match goal {
                    None => String::new(),
                    Some(Goal::AtLeast(least)) => format!("≥ {}", shown(Some(*least))),
                    Some(Goal::AtMost(most)) => format!("≤ {}", shown(Some(*most))),
                };
                let verdict = match (goal, figure.is_met()) {
                    (None, _) => "",
                    (Some(_), true) => "met",
                    (Some(_), false) => "MISSED",
                };
                let line = format!("  {name:<24}{:>10}{:>10}{wanted:>12}  {verdict}", shown(*direct), shown(*gateway));
                writeln!(f, "{}", line.trim_end())?;
            }
            writeln!(f)?;
        }
        let missed = self.loads.iter().flat_map(|load| &load.figures).filter(|figure| !figure.is_met()).count();
        if self.passed { writeln!(f, "passed") } else { writeln!(f, "FAILED: {missed} missed") }
    }
}

fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Count => format!("{value:.0}"),
        Unit::PerSecond => format!("{value:.1}"),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Share => format!("{:.1} %", value * 100.0),
        Unit::Index => format!("{value:.3}"),
        Unit::Times => format!("{value:.2}×"),
    }
}
