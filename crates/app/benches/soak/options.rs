//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::run::{Every, Plan};

/// Tasks through a fleet that is rolled out, rolled back and killed all the while: none lost, none accepted twice
#[derive(Parser)]
#[command(name = "soak", version)]
pub(crate) struct Options {
    /// Tasks to submit, at least
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..))]
    tasks: u64,
    #[arg(long, default_value_t = 131, value_parser = clap::value_parser!(u16).range(4..=1000))]
    agents: u16,
    /// Tasks per second, on average
    #[arg(long, default_value_t = 55.0)]
    rate: f64,
    /// Of arrivals and kills; without it another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Whom to kill, and every how many seconds on average
    #[arg(long, value_name = "WHO:SECONDS", value_delimiter = ',', value_parser = kill, default_value = "agent:1,controller:40,gateway:40")]
    kills: Vec<(Who, f64)>,
    /// Time of a model call, in milliseconds
    #[arg(long, default_value_t = 600)]
    answer_ms: u64,
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Agent,
    Controller,
    Gateway,
    None,
}

impl Options {
    pub(crate) fn plan(&self) -> Plan {
        let every = |who: Who| {
            let seconds = self.kills.iter().find(|(named, _)| *named == who).map(|(_, seconds)| *seconds);
            seconds.map(Duration::from_secs_f64)
        };
        Plan {
            agents: usize::from(self.agents),
            tasks: self.tasks,
            rate: self.rate,
            seed: self.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000)),
            kills: Every { agent: every(Who::Agent), controller: every(Who::Controller), gateway: every(Who::Gateway) },
            answer: Duration::from_millis(self.answer_ms),
            baseline: Duration::from_secs(5),
            bake: Duration::from_secs(5),
            settle: Duration::from_secs(180),
        }
    }
}

fn kill(text: &str) -> Result<(Who, f64), String> {
    const HOW: &str = "write none, or agent, controller or gateway and seconds, such as agent:1";
    let (who, seconds) = text.split_once(':').unwrap_or((text, "1"));
    let who = match who {
        "agent" => Who::Agent,
        "controller" => Who::Controller,
        "gateway" => Who::Gateway,
        "none" => Who::None,
        _ => return Err(HOW.to_owned()),
    };
    let seconds = seconds.parse::<f64>().ok().filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    seconds.map(|seconds| (who, seconds)).ok_or_else(|| HOW.to_owned())
}
