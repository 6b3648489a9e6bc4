//! `bellwether rollout show`.

use std::io::Write;

use bellwether_control::types::{Report, Status};
use bellwether_core::{
    analysis::Judgement,
    rollout::{AgentView, RolloutView},
};
use serde::Serialize;

use super::number;
use crate::{
    client::{Control, ControlArgs},
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
    view::{advice, describe, evidence, why},
};

/// Show one rollout; with --why what to do now, and every decision with its numbers.
///
/// With --why: first what to do now, then every decision in order with the numbers that it rests on: baseline, gates,
/// alarms, parts that were taken back, and the rollback against its limits.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The rollout's number; the latest unless given
    #[arg(value_parser = super::id)]
    rollout: Option<u64>,
    /// What to do now, and why everything was decided as it was
    #[arg(long, conflicts_with = "agents")]
    why: bool,
    /// Name the agents of each phase too
    #[arg(long)]
    agents: bool,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Why<'r> {
    /// Sentences for a person, the most urgent first.
    now: Vec<String>,
    /// Folders in the state directory of `serve`.
    evidence: Vec<String>,
    rollout: &'r RolloutView,
    /// R30 … R39 over the whole rollout, as far as they could be read.
    criteria: &'r [Judgement],
}

pub(super) async fn run(args: &Args) -> Outcome {
    let control = Control::new(&args.control.control);
    let id = number(&control, args.rollout).await?;
    let rollout: RolloutView = control.get(&format!("/v1/rollouts/{id}")).await?;
    let mut lines = match (args.why, args.output.is_json()) {
        (false, true) => {
            print_json(&rollout)?;
            return Ok(Exit::Done);
        }
        (false, false) => describe(&rollout, &if args.agents { agents(&control, id).await? } else { Vec::new() }),
        (true, json) => {
            let criteria = criteria(&control, id).await?;
            if json {
                let now = advice(&rollout);
                print_json(&Why { now, evidence: evidence(&rollout), rollout: &rollout, criteria: &criteria })?;
                return Ok(Exit::Done);
            }
            why(&rollout, &criteria)
        }
    };
    let status: Status = control.get("/v1/status").await?;
    let under_way = status.controller.rollout.filter(|rollout| !rollout.state.is_over()).map(|rollout| rollout.id);
    lines.extend(status.edit.map(|edit| edit.sentence(under_way)));
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}").map_err(cannot_write)?;
    }
    Ok(Exit::Done)
}

/// Who is in which phase is a matter of the latest rollout.
async fn agents(control: &Control, id: u64) -> Result<Vec<AgentView>, Failure> {
    let status: Status = control.get("/v1/status").await?;
    let latest = status.controller.rollout.is_some_and(|rollout| rollout.id.0 == id);
    Ok(if latest { status.controller.agents } else { Vec::new() })
}

/// What cannot be read for the moment does not keep the rest from being shown.
async fn criteria(control: &Control, id: u64) -> Result<Vec<Judgement>, Failure> {
    match control.get::<Report>(&format!("/v1/rollouts/{id}/report")).await {
        Ok(report) => Ok(report.criteria),
        Err(failure) if failure.diagnostics.iter().any(|diagnostic| diagnostic.code == "BW0304") => Err(failure),
        Err(failure) => {
            eprint!("the figures of the whole rollout cannot be shown:\n{failure}");
            Ok(Vec::new())
        }
    }
}
