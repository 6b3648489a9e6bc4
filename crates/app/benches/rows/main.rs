//! `cargo xtask bench rows`: the simulated Ollama beside a real one, in the four loads that were measured on it.
//!
//! Real processes and sockets: a `sim-ollama` of its own for each run, and `bench model` as its clients. What was measured
//! on the real server, and how far from it a figure may be, stands in the file of the frozen parameters.

#[path = "../common/model_load/mod.rs"]
mod model_load;
#[path = "../../src/sim_ollama/reference.rs"]
mod reference;
mod report;
mod run;

use std::{process::ExitCode, thread};

use clap::{Parser, ValueEnum};

use reference::{Reference, Row};
use report::{Measured, Report};
use run::run;

/// The simulated Ollama beside a real one, in the four loads that were measured on it
#[derive(Clone, Copy, Parser)]
#[command(name = "rows", version)]
struct Options {
    /// How long each row is measured, from the first question on
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Runs of each row of several models; a figure is the mean of them
    #[arg(long, default_value_t = 8)]
    runs: u64,
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
            if report.is_near() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("bench rows: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measured(options: &Options) -> Result<Report, String> {
    if options.seconds == 0 || options.runs == 0 {
        return Err("at least one second and one run are needed".to_owned());
    }
    let Reference { tolerance, measured } = Reference::read();
    // Loads of several models wait nearly all the time, so that all their runs find room on one machine at once. The others
    // keep a server and its clients busy, and have it to themselves.
    let (waiting, busy): (Vec<&Row>, Vec<&Row>) = measured.iter().partition(|row| row.models > 1);
    let mut rows = at_once(&waiting, options)?;
    for row in busy {
        rows.extend(at_once(&[row], &Options { runs: 1, ..*options })?);
    }
    Ok(Report { seconds: options.seconds, runs: options.runs, tolerance, rows })
}

/// All runs of all these rows.
fn at_once(rows: &[&Row], options: &Options) -> Result<Vec<Measured>, String> {
    thread::scope(|scope| {
        let running: Vec<_> = rows
            .iter()
            .map(|row| {
                let runs = (1..=options.runs).map(|seed| scope.spawn(move || run(row, seed, options.seconds)));
                (*row, runs.collect::<Vec<_>>())
            })
            .collect();
        let measured = running.into_iter().map(|(row, runs)| {
            let runs = runs.into_iter().map(|run| run.join().map_err(|_| "a run panicked".to_owned())?);
            Ok(Measured::new(row, &runs.collect::<Result<Vec<_>, String>>()?))
        });
        measured.collect()
    })
}
