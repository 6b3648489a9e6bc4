//! What was measured, as a table and as one object.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::{Held, Kind};

pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) state: &'static str,
    /// Of each process, all that was read.
    resident: Vec<Vec<u64>>,
    /// The largest sum that was seen.
    pub(crate) proportional: u64,
    pub(crate) anonymous: u64,
    pub(crate) cores: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) tasks_per_second: f64,
}

pub(crate) struct Wake {
    pub(crate) kind: Kind,
    pub(crate) times: Vec<Duration>,
}

impl Row {
    pub(crate) fn new(kind: Kind, state: &'static str, count: usize) -> Self {
        Self {
            kind,
            state,
            resident: vec![Vec::new(); count],
            proportional: 0,
            anonymous: 0,
            cores: 0.0,
            requests_per_second: 0.0,
            tasks_per_second: 0.0,
        }
    }

    pub(crate) fn note(&mut self, held: &[Held]) {
        for (readings, now) in self.resident.iter_mut().zip(held) {
            readings.push(now.resident);
        }
        self.proportional = self.proportional.max(held.iter().map(|held| held.proportional).sum());
        self.anonymous = self.anonymous.max(held.iter().map(|held| held.anonymous).sum());
    }

    /// Of the process that holds most, as it is most of the time.
    pub(crate) fn resident_max(&self) -> u64 {
        self.usual().into_iter().max().unwrap_or_default()
    }

    fn resident_median(&self) -> u64 {
        median(&self.usual())
    }

    /// The largest single reading of any.
    fn resident_peak(&self) -> u64 {
        self.resident.iter().flatten().copied().max().unwrap_or_default()
    }

    fn usual(&self) -> Vec<u64> {
        self.resident.iter().map(|readings| median(readings)).collect()
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "agent": self.kind.name(),
            "state": self.state,
            "processes": self.resident.len(),
            "resident_bytes_median": self.resident_median(),
            "resident_bytes_max": self.resident_max(),
            "resident_bytes_peak": self.resident_peak(),
            "proportional_bytes_sum": self.proportional,
            "anonymous_bytes_sum": self.anonymous,
            "cores": self.cores,
            "requests_per_second": self.requests_per_second,
            "tasks_per_second": self.tasks_per_second,
        })
    }
}

impl Wake {
    pub(crate) fn median(&self) -> Duration {
        median(&self.times)
    }
}

pub(crate) fn print(rows: &[Row], wakes: &[Wake]) {
    println!(
        "{:<13} {:<5} {:>9} {:>13} {:>7} {:>7} {:>10} {:>13} {:>7} {:>10} {:>7}",
        "",
        "",
        "processes",
        "RSS MB median",
        "max",
        "peak",
        "PSS MB sum",
        "of it private",
        "cores",
        "requests/s",
        "tasks/s"
    );
    for row in rows {
        println!(
            "{:<13} {:<5} {:>9} {:>13.2} {:>7.2} {:>7.2} {:>10.1} {:>13.1} {:>7.4} {:>10.1} {:>7.1}",
            row.kind.name(),
            row.state,
            row.resident.len(),
            megabytes(row.resident_median()),
            megabytes(row.resident_max()),
            megabytes(row.resident_peak()),
            megabytes(row.proportional),
            megabytes(row.anonymous),
            row.cores,
            row.requests_per_second,
            row.tasks_per_second,
        );
    }
    println!();
    for wake in wakes {
        let micros = wake.median().as_micros();
        println!(
            "{:<13} idle, from a task to its model call: {micros} µs (median of {})",
            wake.kind.name(),
            wake.times.len()
        );
    }
}

/// As limits are written: a million bytes.
#[expect(clippy::cast_precision_loss, reason = "memory fits 53 bits")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn median<T: Copy + Ord + Default>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
