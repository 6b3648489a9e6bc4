//! `cargo xtask bench engines`: the same loads straight at a model server and through the gateway, with engines of several kinds.
//!
//! Real processes and sockets. What the simulated Ollama shows of the gateway must hold where answers are really computed:
//! llama.cpp with tiny models of which one is in memory at a time, and somebody's Ollama where there is one.

mod engine;
#[path = "../../tests/it/engine/llama.rs"]
mod llama;
mod report;
mod run;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use engine::Engine;
use report::{Report, Row};
use run::{Load, run};

/// The same loads straight at a model server and through the gateway, with engines of several kinds
#[derive(Clone, Copy, Parser)]
#[command(name = "engines", version)]
struct Options {
    /// Clients of the load with several models
    #[arg(long, default_value_t = 131)]
    clients: u32,
    /// How long each way is measured in each round
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// How often each way has its turn
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Measure, and judge nothing
    #[arg(long)]
    report_only: bool,
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measured(&options) {
        Ok(report) => {
            match options.output {
                Output::Text => print!("{report}"),
                Output::Json => println!("{:#}", serde_json::json!(report)),
            }
            if report.has_passed() || options.report_only { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("bench engines: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measured(options: &Options) -> Result<Report, String> {
    let (seconds, rounds) = (options.seconds, options.rounds);
    let mut rows = Vec::new();
    for engine in engines()? {
        for load in loads(&engine, options.clients) {
            eprintln!("{}: {}", engine.name, load.name());
            let [straight, gateway] = run(&engine, &load, seconds, rounds)?;
            rows.push(Row {
                engine: engine.name.to_owned(),
                load: load.name(),
                models: load.models.len(),
                straight,
                gateway,
            });
        }
    }
    Ok(Report { seconds, rounds, rows })
}

/// Those that there are here; of each other one it is told why it is not.
fn engines() -> Result<Vec<Engine>, String> {
    let mut engines = vec![Engine::simulated()?];
    match std::env::var_os("BELLWETHER_TEST_ENGINE") {
        Some(python) => engines.extend([Engine::llama(python.as_ref(), true)?, Engine::llama(python.as_ref(), false)?]),
        None => eprintln!(
            "skipped: llama.cpp (BELLWETHER_TEST_ENGINE names no Python that has it; `cargo xtask bench engines` makes one)"
        ),
    }
    match std::env::var("BELLWETHER_TEST_OLLAMA") {
        Ok(url) => engines.push(Engine::ollama(&url)?),
        Err(_) => eprintln!("skipped: a real Ollama (BELLWETHER_TEST_OLLAMA names none)"),
    }
    Ok(engines)
}

fn loads(engine: &Engine, clients: u32) -> Vec<Load> {
    let one = engine.models.first().cloned().into_iter().collect();
    let mut loads = vec![Load { clients: 20, models: one }];
    if engine.models.len() > 1 {
        loads.insert(0, Load { clients, models: engine.models.clone() });
    } else {
        eprintln!("skipped: {} with several models (it has one)", engine.name);
    }
    loads
}
