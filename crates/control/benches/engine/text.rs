//! The table, and what of it grew more than it may.

use std::fmt;

use crate::measure::Size;

pub(crate) struct Table<'a> {
    pub(crate) sizes: &'a [Size],
    pub(crate) grown: &'a [String],
}

type Row = (&'static str, fn(&Size) -> f64);

/// What concerns one agent: it must not grow with the fleet.
const OF_ONE: [Row; 6] = [
    ("tick with nothing due, µs", |size| size.idle_tick),
    ("event, no rollout, µs", |size| size.steady),
    ("event, baking, µs", |size| size.baking),
    ("tick, baking, µs", |size| size.baking_tick),
    ("event, cutting over, µs", |size| size.cutting_over),
    ("event, rolling back, µs", |size| size.rolling_back),
];
const OF_MANY: [Row; 9] = [
    ("cutting over in all, ms", |size| size.cutting_over_ms),
    ("  the longest step, ms", |size| size.cutting_over_max_ms),
    ("rolling back in all, ms", |size| size.rolling_back_ms),
    ("  the longest step, ms", |size| size.rolling_back_max_ms),
    ("publish, µs", |size| size.publish),
    ("view, µs", |size| size.view),
    ("events of the rollout", |size| size.events as f64),
    ("journal, MB", |size| size.journal_bytes as f64 / 1e6),
    ("replay, ms", |size| size.replayed.ms),
];
const MEMORY: Row =
    ("memory, MB", |size| size.replayed.rss_bytes.saturating_sub(size.replayed.rss_before_bytes) as f64 / 1e6);

/// What costs more than `most` times as much in the last fleet as in the first.
pub(crate) fn grown(sizes: &[Size], most: f64) -> Vec<String> {
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else { return Vec::new() };
    let ratio = |row: &Row| row.1(last) / row.1(first);
    let grown = OF_ONE.iter().filter(|row| ratio(row) > most);
    grown.map(|row| format!("{}: {:.1} times", row.0, ratio(row))).collect()
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28}", "agents")?;
        self.sizes.iter().try_for_each(|size| write!(f, "{:>12}", size.agents))?;
        writeln!(f, "{:>12}", "ratio")?;
        for (name, value) in OF_ONE.iter().chain(&OF_MANY).chain([&MEMORY]) {
            write!(f, "{name:<28}")?;
            self.sizes.iter().try_for_each(|size| write!(f, "{:>12.2}", value(size)))?;
            match (self.sizes.first(), self.sizes.last()) {
                (Some(first), Some(last)) => writeln!(f, "{:>11.1}×", value(last) / value(first))?,
                _ => writeln!(f)?,
            }
        }
        for one in self.grown {
            writeln!(f, "GREW       {one}")?;
        }
        writeln!(f, "{}", if self.grown.is_empty() { "passed" } else { "FAILED" })
    }
}
