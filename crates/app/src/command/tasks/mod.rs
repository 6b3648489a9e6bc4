//! `bellwether tasks …`: submit tasks to a running fleet, look at them, and deal with those that went wrong, through the
//! gateway's task API.

mod batch;
mod cancel;
mod dead;
mod ends;
mod gateway;
mod lines;
mod list;
mod pace;
mod refusal;
mod retry;
mod show;
mod submit;
mod task;
mod text;
mod wait;

use std::time::Duration;

use bellwether_core::spec::unit;

use crate::{failure::Outcome, runtime};

/// Submit tasks, look at them, and deal with those that went wrong.
///
/// Talks to the gateway of a running `serve`. A task waits in the gateway's queue until an agent takes it, and ends once: as
/// completed, failed (its attempts are used up), expired (it was not begun in time) or cancelled. Failed and expired tasks
/// are dead letters; `tasks retry` queues them again.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Sub,
}

#[derive(clap::Subcommand)]
enum Sub {
    Submit(Box<submit::Args>),
    List(list::Args),
    Show(show::Args),
    Cancel(cancel::Args),
    Retry(retry::Args),
    Dead(dead::Args),
}

pub(crate) fn run(args: Args) -> Outcome {
    runtime::block_on(async {
        match args.verb {
            Sub::Submit(args) => submit::run(*args).await,
            Sub::List(args) => list::run(&args).await,
            Sub::Show(args) => show::run(&args).await,
            Sub::Cancel(args) => cancel::run(&args).await,
            Sub::Retry(args) => retry::run(&args).await,
            Sub::Dead(args) => dead::run(&args).await,
        }
    })?
}

/// How long to wait, which need not be said.
fn wait_span(text: &str) -> Result<Duration, String> {
    let at_most = |bad: unit::BadFigure| {
        format!(
            "{}; write a span such as 30s or 5m behind --wait, or let --wait stand last to wait without a limit",
            bad.cause
        )
    };
    span(text).map_err(at_most)
}

/// How many to show at most.
fn limit(text: &str) -> Result<usize, &'static str> {
    let number = text.parse().ok().filter(|limit| *limit > 0);
    number.ok_or("it is no number above 0; leave it out, and at most 100 are shown")
}

fn span(text: &str) -> Result<Duration, unit::BadFigure> {
    unit::millis(text).map(|span| span.to_std())
}
