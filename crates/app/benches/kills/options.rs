//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::run::Plan;

/// SIGKILL for controller, gateway and supervisor in turn, while rollouts and rollbacks go on under load
#[derive(Parser)]
#[command(name = "kills", version)]
pub(crate) struct Options {
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
    /// Agents that take tasks; eight more take pushed requests
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(3..=1000))]
    agents: u16,
    /// Tasks per second, on average
    #[arg(long, default_value_t = 20.0)]
    tasks: f64,
    /// Pushed requests per second
    #[arg(long, default_value_t = 40.0)]
    pushes: f64,
    /// Model calls per second of a client without an agent
    #[arg(long, default_value_t = 15.0)]
    calls: f64,
    /// Of arrivals, victims and moments; without it another one each time
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

impl Options {
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            rounds: usize::from(self.rounds),
            agents: usize::from(self.agents),
            pushed: 8,
            tasks: self.tasks,
            pushes: self.pushes,
            calls: self.calls,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000)),
            answer: Duration::from_millis(600),
            baseline: Duration::from_secs(2),
            bake: Duration::from_secs(2),
            pause: Duration::from_secs(2),
            settle: Duration::from_secs(180),
        }
    }
}
