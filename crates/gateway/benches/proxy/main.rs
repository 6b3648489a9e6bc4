//! What a request, a chunk of a stream and an open stream cost in the gateway, beside nginx and haproxy.
//!
//! Every proxy is a process of its own with as many threads as the others. Upstream and load have a thread each in this
//! process and are the same for all. Rounds are interleaved, so that what else the machine does falls on everybody.
//! `docs/benchmarks.md` says what each figure means.

mod client;
mod fleet;
#[path = "../common/gateway.rs"]
mod gateway;
mod machine;
mod measure;
mod options;
mod report;
mod rivals;
mod route;
mod upstream;

use std::process::ExitCode;

use clap::Parser;

use options::{Options, Output};
use report::Report;

fn main() -> ExitCode {
    let options = Options::parse();
    let passed = match &options.as_gateway {
        Some(state) => gateway::serve(state).map(|()| true),
        None => bench(&options),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True if no target is missed, or none is asked for.
fn bench(options: &Options) -> anyhow::Result<bool> {
    machine::raise_open_files();
    let evidence = measure::run(options)?;
    let report = Report::of(options, evidence);
    match options.output {
        Output::Text => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(report.passed || options.report_only)
}
