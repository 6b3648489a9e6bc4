//! What `--dry-run` prints: what would happen, for a person or a program.

use std::io::Write;

use bellwether_control::types::DryRun;

use crate::{
    failure::{Exit, Outcome},
    output::{Output, cannot_write, print_json},
    view::preview,
};

pub(crate) fn show(dry: &DryRun, output: Output) -> Outcome {
    if output.is_json() {
        print_json(dry)?;
        return Ok(Exit::Done);
    }
    let mut out = std::io::stdout().lock();
    if let Some(plan) = &dry.plan_text {
        writeln!(out, "{plan}").map_err(cannot_write)?;
    }
    for line in preview(&dry.preview) {
        writeln!(out, "{line}").map_err(cannot_write)?;
    }
    Ok(Exit::Done)
}
