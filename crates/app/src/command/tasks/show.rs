//! `bellwether tasks show`.

use std::{io::Write, time::Duration};

use super::{
    gateway::{Gateway, GatewayArgs},
    task::State,
    text, wait,
};
use crate::{
    failure::{Exit, Outcome},
    output::{Output, cannot_write, print_json},
};

/// Show everything about one task; with --wait once it has ended.
///
/// A long result is cut for people; `--output json` prints all of it, as the agent wrote it. With --wait the exit code tells
/// how the task ended: 0 completed, 1 failed, expired or cancelled, 4 not ended when the time was over.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The task's id
    #[arg(value_name = "ID")]
    id: String,
    /// Wait for its end; at most for this long if a span such as 30s follows
    #[arg(long, value_name = "DURATION", num_args = 0..=1, value_parser = super::wait_span)]
    #[expect(clippy::option_option, reason = "clap: not given, given, given with a value")]
    wait: Option<Option<Duration>>,
    #[command(flatten)]
    gateway: GatewayArgs,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(args: &Args) -> Outcome {
    let gateway = Gateway::new(&args.gateway)?;
    let seen = match args.wait {
        Some(limit) => wait::until_ended(&mut wait::Watch::new(&gateway, false), &args.id, limit).await?,
        None => wait::look(&gateway, &args.id).await?,
    };
    if args.output.is_json() {
        print_json(&seen.fields)?;
    } else {
        let mut out = std::io::stdout().lock();
        for line in text::page(&seen.task, text::now()) {
            writeln!(out, "{line}").map_err(cannot_write)?;
        }
    }
    Ok(if args.wait.is_some() { exit(seen.task.state) } else { Exit::Done })
}

/// What a task's state means to whoever waited for its end.
pub(super) fn exit(state: State) -> Exit {
    match state {
        State::Completed => Exit::Done,
        State::Failed | State::Expired | State::Cancelled => Exit::Error,
        State::Delayed | State::Queued | State::Leased => Exit::Undecided,
    }
}
