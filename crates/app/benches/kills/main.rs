//! `cargo xtask bench kills`: rounds of SIGKILL for controller, gateway and supervisor, under load and while rollouts go
//! on. `docs/benchmarks.md` says what each line of the report means.

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
    match kills(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("bench kills: {why}");
            ExitCode::FAILURE
        }
    }
}

fn kills(options: &Options) -> Result<bool, String> {
    if !run::has_python() {
        return Err("the agents that requests are pushed to are Python programs, and there is no python3".to_owned());
    }
    let plan = options.plan();
    eprintln!("seed {}", plan.seed);
    let outcome = run::run(&plan, &|text| eprintln!("{text}")).map_err(|why| format!("seed {}: {why}", plan.seed))?;
    let violations = outcome.violations(&plan);
    match options.output {
        Output::Text => print!("{}", text::Report { outcome: &outcome, violations: &violations }),
        Output::Json => {
            let all = json!({"passed": violations.is_empty(), "violations": violations, "sums": outcome.sums(), "outcome": outcome});
            println!("{all:#}");
        }
    }
    Ok(violations.is_empty())
}
