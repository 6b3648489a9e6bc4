//! `bellwether rollout watch`: a picture on a terminal, lines elsewhere, and the end as an exit code.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use bellwether_control::types::Status;
use bellwether_core::{
    rollout::{PauseReason, RolloutView, State, Step},
    time::Millis,
};

use super::number;
use crate::{
    client::{Control, ControlArgs},
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
    view::{Frame, Narrator, Screen, frame, undone},
};

/// Follow a rollout until it is over; the exit code tells how it ended.
///
/// Exit code 0 completed, 3 rolled back, 4 a person has to decide, 5 preflight failed. Ending this command does not end
/// the rollout.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The rollout's number; the latest unless given
    #[arg(value_parser = super::id)]
    rollout: Option<u64>,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

const BEAT: Duration = Duration::from_millis(250);

pub(super) async fn run(args: Args) -> Outcome {
    let control = Control::new(&args.control.control);
    let id = number(&control, args.rollout).await?;
    watch(&control, id, args.output).await
}

pub(super) async fn watch(control: &Control, id: u64, output: Output) -> Outcome {
    let (rollout, exit) = follow(control, id, output).await?;
    if output.is_json() {
        print_json(&rollout)?;
    }
    Ok(exit)
}

/// Shows what happens until the rollout is over, on standard error.
pub(crate) async fn follow(control: &Control, id: u64, output: Output) -> Result<(RolloutView, Exit), Failure> {
    let began = Instant::now();
    let mut screen = Screen::on_terminal().filter(|_| !output.is_json());
    let mut narrator = Narrator::default();
    loop {
        let status: Status = control.get("/v1/status").await?;
        let latest = status.controller.rollout.as_ref().filter(|rollout| rollout.id.0 == id);
        let elapsed = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let rollout: RolloutView = match latest {
            Some(rollout) => rollout.clone(),
            None => control.get(&format!("/v1/rollouts/{id}")).await?,
        };
        let told = match &mut screen {
            Some(screen) => {
                let picture = Frame { status: &status, elapsed, account: &[], width: Screen::width(), colour: true };
                screen.draw(&frame(&picture))
            }
            None => say(&narrator.tell(&status, elapsed)),
        };
        told.map_err(cannot_write)?;
        if let Some(exit) = ended(&rollout) {
            // The narrator has said it; a picture has no room for it.
            if let Some(record) = rollout.rollback.as_ref().filter(|_| screen.is_some()) {
                say(&undone(record)).map_err(cannot_write)?;
            }
            return Ok((rollout, exit));
        }
        tokio::time::sleep(BEAT).await;
    }
}

fn say(lines: &[String]) -> std::io::Result<()> {
    let mut stderr = std::io::stderr().lock();
    lines.iter().try_for_each(|line| writeln!(stderr, "{line}"))
}

/// How a rollout ended, if it did: what waits for a person has ended for a pipeline.
pub(crate) fn ended(rollout: &RolloutView) -> Option<Exit> {
    match rollout.state {
        State::Completed | State::Committed => Some(Exit::Done),
        State::RolledBack => Some(Exit::RolledBack),
        State::NeedsAttention => Some(Exit::Undecided),
        State::PreflightFailed => Some(Exit::PreflightFailed),
        State::Progressing { step: Step::AwaitingApproval, .. } => Some(Exit::Undecided),
        State::Preflight | State::Progressing { .. } | State::Validating { .. } | State::RollingBack { .. } => {
            match &rollout.paused {
                // Whoever paused it will resume it, and the end of a freeze lets it go on.
                None | Some(PauseReason::Asked { .. } | PauseReason::Frozen { .. }) => None,
                Some(
                    PauseReason::ThinEvidence
                    | PauseReason::SharedFault { .. }
                    | PauseReason::PartlyRolledBack { .. }
                    | PauseReason::DiskFull { .. }
                    | PauseReason::WindowClosed,
                ) => Some(Exit::Undecided),
            }
        }
    }
}
