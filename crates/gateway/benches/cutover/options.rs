//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Moves a fleet one by one and all at once under load, and tells what that cost
#[derive(Parser)]
#[command(name = "cutover", version)]
pub(crate) struct Options {
    /// Length of each of the four parts: before, one by one, all at once, after
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub(crate) seconds: f64,
    /// Requests per second over all agents, on average
    #[arg(long, default_value_t = 400.0, value_parser = positive)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 131, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) agents: u16,
    /// How often the whole fleet is moved at once
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) swaps: u32,
    /// Streams of each of the two kinds that span every cutover; half as many WebSockets
    #[arg(long, default_value_t = 20)]
    pub(crate) streams: u32,
    /// Of arrivals and of the agents they go to
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
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
    pub(crate) fn websockets(&self) -> u32 {
        self.streams.div_ceil(2)
    }
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
