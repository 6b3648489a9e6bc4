//! `cargo xtask check`.

use std::process::ExitCode;

use crate::{cargo::Cargo, refuse};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    refuse(arguments)?;
    Cargo::new(&["check", "--workspace", "--all-targets"])?.must()?;
    Ok(ExitCode::SUCCESS)
}
