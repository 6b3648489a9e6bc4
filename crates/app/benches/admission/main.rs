//! `cargo xtask bench admission`: what the gateway's queue makes of a model server, beside the same server alone.
//!
//! Real processes and sockets: two simulated Ollamas alike, a `bellwether gateway` in front of the second, and `bench model`
//! as the clients, which calls the two in turn. No figure is the gateway's own.

#[path = "../common"]
mod common {
    pub(crate) mod get;
}
#[path = "../common/model_load/mod.rs"]
mod model_load;
mod report;
mod run;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};

use report::{Measured, Report};
use run::{Point, Spans};

/// What the gateway's queue makes of a model server, beside the same server alone
#[derive(Clone, Parser)]
#[command(name = "admission", version)]
struct Options {
    /// Only these loads
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    only: Vec<Point>,
    /// How long the longest loads are measured; the others take a part of that
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(4..=3600))]
    seconds: u64,
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
            if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("bench admission: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measured(options: &Options) -> Result<Report, String> {
    let seconds = Duration::from_secs(options.seconds);
    let spans = Spans {
        cold: seconds,
        steady: seconds / 3,
        round: seconds / 15,
        rounds: 4,
        shares: seconds / 5,
        leaving: seconds / 3,
        adversary: seconds * 2 / 3,
    };
    let points = if options.only.is_empty() { Point::value_variants() } else { &options.only };
    let measured = points.iter().map(|&point| {
        eprintln!("{}", point.load());
        Ok(Measured { name: name(point), load: point.load(), figures: point.measured(&spans)? })
    });
    Ok(Report::new(options.seconds, measured.collect::<Result<_, String>>()?))
}

fn name(point: Point) -> String {
    // None is hidden.
    point.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
