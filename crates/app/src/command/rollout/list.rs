//! `bellwether rollout list`.

use std::io::Write;

use bellwether_core::rollout::RolloutView;

use crate::{
    client::{Control, ControlArgs},
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
    view::{moment, stage},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

/// Oldest first.
pub(super) async fn all(control: &Control) -> Result<Vec<RolloutView>, Failure> {
    control.get("/v1/rollouts").await
}

pub(super) async fn run(args: &Args) -> Outcome {
    let rollouts = all(&Control::new(&args.control.control)).await?;
    if args.output.is_json() {
        print_json(&rollouts)?;
        return Ok(Exit::Done);
    }
    if rollouts.is_empty() {
        eprintln!("no rollout yet; begin one with `bellwether rollout start --release FILE`");
    }
    let mut out = std::io::stdout().lock();
    for rollout in &rollouts {
        let kind = if rollout.drill { "drill: " } else { "" };
        let line =
            format!("{:>4}  {:<16} {}  {kind}{}", rollout.id, rollout.release, moment(rollout.started), stage(rollout));
        writeln!(out, "{line}").map_err(cannot_write)?;
    }
    Ok(Exit::Done)
}
