//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures the processor time per request and per chunk, and the memory per stream, beside nginx and haproxy
#[derive(Parser)]
#[command(name = "proxy", version)]
pub(crate) struct Options {
    /// Length of one measurement
    #[arg(long, default_value_t = 2.0, value_parser = positive)]
    pub(crate) seconds: f64,
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Connections of the load, each with one request or one stream at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) connections: u32,
    /// Threads, or workers, of each proxy. The gateway has one more for model calls, which is counted too
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
    /// Between two chunks of a stream
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) beat_ms: u32,
    /// Idle streams that are open at once while memory is measured
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=3000))]
    pub(crate) streams: u32,
    /// Only these; without it all
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// Prints without judging
    #[arg(long)]
    pub(crate) report_only: bool,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// Runs the gateway in this state directory instead
    #[arg(long, hide = true)]
    pub(crate) as_gateway: Option<PathBuf>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    Requests,
    Chunks,
    Memory,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("not a number above zero".to_owned()),
    }
}
