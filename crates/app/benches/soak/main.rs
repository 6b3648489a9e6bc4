//! `cargo xtask bench soak`: thousands of tasks through a fleet of real processes that is rolled out, rolled back, and
//! killed at random all the while. `docs/benchmarks.md` says what each line of the report means.

#[path = "../common/mod.rs"]
mod common;
mod options;
mod run;
mod text;

use std::process::ExitCode;

use clap::Parser;
use options::{Options, Output};
use serde_json::json;

fn main() -> ExitCode {
    match soak(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("bench soak: {why}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &Options) -> Result<bool, String> {
    let plan = options.plan();
    eprintln!("seed {}", plan.seed);
    let outcome = run::run(&plan, &|text| eprintln!("{text}")).map_err(|why| format!("seed {}: {why}", plan.seed))?;
    let violations = outcome.violations(&plan);
    match options.output {
        Output::Text => print!("{}", text::Report { outcome: &outcome, violations: &violations }),
        Output::Json => {
            let all = json!({"passed": violations.is_empty(), "violations": violations, "outcome": outcome});
            println!("{all:#}");
        }
    }
    Ok(violations.is_empty())
}
