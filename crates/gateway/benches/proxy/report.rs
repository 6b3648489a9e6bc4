//! From samples to ratios: the medians, what they have to be, and how a person reads them.

use std::fmt;

use serde::Serialize;

use crate::{
    machine,
    measure::{Evidence, Held, Row, Sample},
    options::Options,
    route::Way,
};

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) passed: bool,
    processor: String,
    cores: usize,
    kernel: String,
    rivals: Vec<String>,
    threads: u32,
    connections: u32,
    rounds: u32,
    seconds: f64,
    requests: Vec<Cost>,
    chunks: Vec<Cost>,
    beat_ms: u32,
    streams: u32,
    memory: Vec<Memory>,
}

/// Medians over the rounds.
#[derive(Serialize)]
struct Cost {
    way: Way,
    processor_micros: f64,
    per_second: f64,
    reads: f64,
    /// What it costs nginx in the same round, divided by what it costs here. Above 1 it costs less than in nginx.
    ratio: f64,
    /// The least that it may be.
    target: Option<f64>,
}

#[derive(Serialize)]
struct Memory {
    way: Way,
    bytes_per_stream: f64,
}

/// The cost of a request may be this much of nginx's.
fn of_requests(way: Way) -> Option<f64> {
    match way {
        Way::Nginx | Way::Haproxy => None,
        Way::Push => Some(0.9),
        Way::Model => Some(0.75),
    }
}

fn of_chunks(way: Way) -> Option<f64> {
    match way {
        Way::Nginx | Way::Haproxy => None,
        Way::Push | Way::Model => Some(1.0),
    }
}

impl Report {
    pub(crate) fn of(options: &Options, evidence: Evidence) -> Self {
        let requests = costs(&evidence.requests, of_requests);
        let chunks = costs(&evidence.chunks, of_chunks);
        let memory = evidence.memory.iter().map(|&Held { way, bytes_per_stream }| Memory { way, bytes_per_stream });
        Self {
            passed: requests.iter().chain(&chunks).all(Cost::is_met),
            processor: machine::processor(),
            cores: machine::cores(),
            kernel: machine::kernel(),
            rivals: evidence.rivals,
            threads: options.threads,
            connections: options.connections,
            rounds: options.rounds,
            seconds: options.seconds,
            beat_ms: options.beat_ms,
            streams: options.streams,
            memory: memory.collect(),
            requests,
            chunks,
        }
    }
}

impl Cost {
    fn is_met(&self) -> bool {
        self.target.is_none_or(|target| self.ratio >= target)
    }
}

/// The first row is nginx.
fn costs(rows: &[Row], target: fn(Way) -> Option<f64>) -> Vec<Cost> {
    let Some(reference) = rows.first() else { return Vec::new() };
    let cost = |row: &Row| {
        let of = |value: fn(&Sample) -> f64| median(row.samples.iter().map(value));
        let pairs = reference.samples.iter().zip(&row.samples);
        Cost {
            way: row.way,
            processor_micros: of(|sample| sample.processor_micros),
            per_second: of(|sample| sample.per_second),
            reads: of(|sample| sample.reads),
            ratio: median(pairs.map(|(theirs, own)| theirs.processor_micros / own.processor_micros)),
            target: target(row.way),
        }
    };
    rows.iter().map(cost).collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, kernel, threads, connections, rounds, seconds, .. } = self;
        writeln!(f, "{processor}, {cores} cores, Linux {kernel}; {}", self.rivals.join(", "))?;
        writeln!(
            f,
            "{threads} thread(s) each, {connections} connections; medians of {rounds} interleaved rounds of {seconds} s"
        )?;
        costs_as_text(f, "1 kB POST, 1 kB back", "request", &self.requests)?;
        let beat = self.beat_ms;
        costs_as_text(f, &format!("NDJSON, a chunk each {beat} ms"), "chunk", &self.chunks)?;
        if !self.memory.is_empty() {
            writeln!(f, "\n{:<26}{:>14}", format!("{} idle streams", self.streams), "bytes/stream")?;
            for Memory { way, bytes_per_stream } in &self.memory {
                writeln!(f, "{:<26}{bytes_per_stream:>14.0}", way.name())?;
            }
        }
        for missed in self.requests.iter().chain(&self.chunks).filter(|cost| !cost.is_met()) {
            let (name, ratio, target) = (missed.way.name(), missed.ratio, missed.target.unwrap_or_default());
            writeln!(f, "\nmissed: {name}: {ratio:.2}× nginx, below {target}×")?;
        }
        writeln!(f, "\n{}", if self.passed { "passed" } else { "failed" })
    }
}

fn costs_as_text(f: &mut fmt::Formatter<'_>, what: &str, unit: &str, costs: &[Cost]) -> fmt::Result {
    if costs.is_empty() {
        return Ok(());
    }
    let (cost, reads, rate) = (format!("µs/{unit}"), format!("reads/{unit}"), format!("{unit}s/s"));
    writeln!(f, "\n{what:<26}{cost:>14}{:>10}{:>10}{reads:>15}{rate:>13}", "ratio", "target")?;
    for cost in costs {
        let Cost { way, processor_micros, per_second, reads, ratio, target } = cost;
        let target = target.map_or_else(|| "–".to_owned(), |target| format!("≥ {target}"));
        writeln!(
            f,
            "{:<26}{processor_micros:>14.2}{ratio:>10.2}{target:>10}{reads:>15.2}{per_second:>13.0}",
            way.name()
        )?;
    }
    Ok(())
}
