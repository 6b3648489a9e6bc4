//! `cargo xtask bench tasks`: what a durable task queue costs. Submit, lease and complete per second beside Redis and
//! SQLite on the same disk; memory and restart with a full queue; waiting during a rollout against before.
//!
//! The gateway is the one of a real `serve`; the bench plays the agents, except where they are rolled out.

#[path = "../common/mod.rs"]
mod common;
mod http;
mod measure;
mod options;
mod queue;
mod report;
mod rollout;
#[path = "../soak/run/mod.rs"]
mod soak_run;
mod stage;
mod waiting;

use std::process::ExitCode;

use clap::Parser;

use options::{Options, Output, Part};
use queue::{ours, redis, sqlite};
use report::Report;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(report) => {
            match options.output {
                Output::Text => print!("{report}"),
                Output::Json => println!("{:#}", serde_json::json!(report)),
            }
            if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("bench tasks: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Report, String> {
    let mut report = Report { payload_bytes: options.payload, seconds: options.seconds, ..Report::default() };
    if options.wants(Part::Cycle) {
        for connections in &options.connections {
            for measure in [ours::measure, redis::measure, sqlite::measure] {
                let row = measure(options, *connections)?;
                eprintln!("{row}");
                report.cycles.push(row);
            }
        }
    }
    if options.wants(Part::Waiting) {
        for bytes in [200, 1024] {
            let row = waiting::measure(options, bytes)?;
            eprintln!("{row}");
            report.waiting.push(row);
        }
    }
    if options.wants(Part::Rollout) {
        report.rollout = Some(rollout::measure(options)?);
    }
    Ok(report)
}
