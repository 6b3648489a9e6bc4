//! `cargo xtask lint`. All of it runs, whatever fails on the way, so that one call shows everything.

use std::process::ExitCode;

use crate::{cargo::Cargo, refuse, root, text, weight};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    refuse(arguments)?;
    let formatted = Cargo::new(&["fmt", "--all", "--check"])?.succeeds()?;
    let text_is_clean = text::lint(&root()?)?;
    let weight_is_kept = weight::is_kept()?;
    let clippy_is_silent =
        Cargo::new(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?.succeeds()?;
    let failed: Vec<&str> =
        [(formatted, "fmt"), (text_is_clean, "text"), (weight_is_kept, "weight"), (clippy_is_silent, "clippy")]
            .into_iter()
            .filter_map(|(good, name)| (!good).then_some(name))
            .collect();
    anyhow::ensure!(failed.is_empty(), "lint failed: {}", failed.join(", "));
    Ok(ExitCode::SUCCESS)
}
