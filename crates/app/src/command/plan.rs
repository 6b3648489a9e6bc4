//! `bellwether plan`: what a release would do, before anything is touched.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use bellwether_core::{
    diagnostic::Diagnostic,
    plan::{Measured, Plan, make, text},
    spec::Spec,
};
use serde::Serialize;

use crate::{
    failure::{Exit, Failure, Outcome},
    files::{load_fleet, load_release, now, present_memory},
    output::{Output, cannot_write, print_json},
};

/// Show what a release would do to a fleet, before anything is touched.
///
/// Changes, phases and agents, memory and time to undo at each step, schedule, gates. What does not fit is refused with
/// the numbers. Talks to nobody: needs are assumed where a running controller would have measured them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The fleet file: what runs
    #[arg(long, value_name = "FILE", default_value = "fleet.yaml")]
    fleet: PathBuf,
    /// The release file: what changes
    #[arg(long, value_name = "FILE")]
    release: PathBuf,
    /// Divide bakes and validation by this, as `rollout start --speed` does
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    speed: f64,
    #[command(flatten)]
    output: Output,
}

/// What is printed instead of a plan where there is none.
#[derive(Serialize)]
struct Refused<'d> {
    errors: &'d [Diagnostic],
}

pub(crate) fn run(args: Args) -> Outcome {
    match plan(&args) {
        Ok((plan, _)) if args.output.is_json() => print_json(&plan)?,
        Ok((plan, spec)) => {
            io::stdout().lock().write_all(text::render(&plan, &spec).as_bytes()).map_err(cannot_write)?;
        }
        Err(failure) if args.output.is_json() => {
            print_json(&Refused { errors: &failure.diagnostics })?;
            return Ok(failure.exit);
        }
        Err(failure) => return Err(failure),
    }
    Ok(Exit::Done)
}

/// Both files are read before either is refused, so that one run tells everything.
fn plan(args: &Args) -> Result<(Plan, Spec), Failure> {
    let (spec, release) = match (load_fleet(&args.fleet), load_release(&args.release)) {
        (Ok(spec), Ok(release)) => (spec, release),
        (Err(failure), Ok(_)) | (Ok(_), Err(failure)) => return Err(failure),
        (Err(mut fleet), Err(release)) => {
            fleet.diagnostics.extend(release.diagnostics);
            return Err(fleet);
        }
    };
    let measured = Measured { present_memory_bytes: present_memory(), ..Measured::default() };
    let plan =
        make(&spec, &release, &measured, args.speed).and_then(|plan| now(plan, &spec)).map_err(Failure::invalid)?;
    Ok((plan, spec))
}
