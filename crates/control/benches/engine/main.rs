//! `cargo xtask bench engine`: what the engine costs as the fleet grows. `docs/benchmarks.md` says what each column means.

mod fleet;
mod measure;
mod memory;
mod text;
mod world;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use serde_json::json;

/// Cost of a step of the machine, replay of a journal and memory, by the size of the fleet
#[derive(Parser)]
#[command(name = "engine", version)]
struct Options {
    /// Sizes of the fleet, the smallest first
    #[arg(long, value_delimiter = ',', default_value = "131,1000,10000")]
    agents: Vec<usize>,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Replay this journal and say how long it took and how much memory is held then
    #[arg(long, hide = true)]
    replay: Option<std::path::PathBuf>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// The largest fleet may cost so many times what the smallest costs, per event that concerns one agent. A search in a
/// sorted map grows with the logarithm of its size, and what no longer fits into a cache costs more to reach.
const GROWTH_MAX: f64 = 8.0;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("bench engine: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, String> {
    if let Some(journal) = &options.replay {
        println!("{}", json!(memory::replayed(journal)?));
        return Ok(true);
    }
    let mut sizes = Vec::new();
    for &agents in &options.agents {
        eprintln!("{agents} agents");
        sizes.push(measure::size(agents)?);
    }
    let grown = text::grown(&sizes, GROWTH_MAX);
    match options.output {
        Output::Text => print!("{}", text::Table { sizes: &sizes, grown: &grown }),
        Output::Json => println!("{:#}", json!({"passed": grown.is_empty(), "grown": grown, "sizes": sizes})),
    }
    Ok(grown.is_empty())
}
