//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

/// What a durable task costs: per second, in memory, and while the fleet is rolled out
#[derive(Parser)]
#[command(name = "tasks", version)]
pub(crate) struct Options {
    /// Only this part
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Clients at once, each on a connection of its own
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    pub(crate) connections: Vec<usize>,
    /// How long each row is measured
    #[arg(long, default_value_t = 8.0)]
    pub(crate) seconds: f64,
    /// Bytes of a task's body
    #[arg(long, default_value_t = 200)]
    pub(crate) payload: usize,
    /// Tasks that wait, in the part about memory
    #[arg(long, default_value_t = 100_000)]
    pub(crate) queued: u64,
    /// Agents that are rolled out
    #[arg(long, default_value_t = 40)]
    pub(crate) agents: usize,
    /// Tasks per second during the rollout
    #[arg(long, default_value_t = 40.0)]
    pub(crate) rate: f64,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Submit, lease, complete
    Cycle,
    /// Memory and restart
    Waiting,
    /// During a rollout
    Rollout,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

impl Options {
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.part.is_none_or(|only| only == part)
    }

    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}
