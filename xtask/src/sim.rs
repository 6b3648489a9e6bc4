//! `cargo xtask sim`: its arguments are those of the `bellwether-sim` binary.

use std::process::ExitCode;

use crate::cargo::Cargo;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    // Optimised: a seed is a five-hour rollout of 131 agents with every invariant checked after every event.
    let passed =
        Cargo::new(&["run", "--release", "--package", "bellwether-sim", "--"])?.args(arguments).ends_the_output()?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
