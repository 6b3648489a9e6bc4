//! `bellwether rollout …`: start, watch and steer a rollout through the control API.

mod dry;
mod list;
mod show;
mod start;
mod steer;
mod watch;

use bellwether_core::{diagnostic::Diagnostic, rollout::VerbKind};

pub(crate) use self::{
    dry::show as show_dry_run,
    start::{Wanted, request},
    steer::Args as AnswerArgs,
    watch::{ended, follow},
};
use crate::{
    client::Control,
    failure::{Failure, Outcome},
    runtime,
};

/// Start, watch and steer a rollout.
///
/// Talks to the controller of a running `serve`. Without a number the latest rollout is meant.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Sub,
}

#[derive(clap::Subcommand)]
enum Sub {
    Start(start::Args),
    Watch(watch::Args),
    Show(show::Args),
    /// List all rollouts of this fleet
    List(list::Args),
    /// Stop before the next cutover; what runs is still judged
    Pause(steer::Args),
    /// Go on after a pause
    Resume(steer::OnwardArgs),
    /// End the bake now, or go on where evidence is thin
    Promote(steer::OnwardArgs),
    /// Try again what has failed: greens in their back-off, a rollback, or the whole rollout
    ///
    /// While a rollout goes on, greens that wait for another try are started at once. One that needs attention tries its
    /// rollback again. One that was rolled back, or failed its preflight, is started again as a new rollout: the same
    /// release, planned against what runs and is measured now.
    Retry(steer::OnwardArgs),
    /// Let a phase begin that waits for an approval
    Approve(steer::Args),
    /// Go back instead of letting a phase begin that waits for an approval
    Reject(steer::Args),
    HoldBack(steer::HoldBackArgs),
    #[command(visible_alias = "abort")]
    Rollback(steer::RollbackArgs),
    /// Give up blue after completion; this cannot be undone
    Commit(steer::Args),
}

#[derive(clap::Args)]
pub(crate) struct Who {
    /// Who asks; kept in the journal
    #[arg(long, env = "USER", default_value = "operator", value_name = "NAME")]
    pub(crate) by: String,
}

/// `bellwether approve` and `reject`, which people who only approve can find without knowing of rollouts.
pub(crate) fn answer(verb: VerbKind, args: &AnswerArgs) -> Outcome {
    runtime::block_on(steer::run(verb, args))?
}

pub(crate) fn run(args: Args) -> Outcome {
    runtime::block_on(async {
        match args.verb {
            Sub::Start(args) => start::run(args).await,
            Sub::Watch(args) => watch::run(args).await,
            Sub::Show(args) => show::run(&args).await,
            Sub::List(args) => list::run(&args).await,
            Sub::Pause(args) => steer::run(VerbKind::Pause, &args).await,
            Sub::Resume(args) => steer::onward(VerbKind::Resume, args).await,
            Sub::Promote(args) => steer::onward(VerbKind::Promote, args).await,
            Sub::Retry(args) => steer::onward(VerbKind::Retry, args).await,
            Sub::Approve(args) => steer::run(VerbKind::Approve, &args).await,
            Sub::Reject(args) => steer::run(VerbKind::Reject, &args).await,
            Sub::HoldBack(args) => steer::hold_back(args).await,
            Sub::Rollback(args) => steer::rollback(args).await,
            Sub::Commit(args) => steer::run(VerbKind::Commit, &args).await,
        }
    })?
}

/// A rollout's number, as an argument.
fn id(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_not_one| "it is not a number; `bellwether rollout list` shows the numbers of all rollouts")
}

/// The rollout that is meant: the latest unless a number was given.
async fn number(control: &Control, given: Option<u64>) -> Result<u64, Failure> {
    if let Some(number) = given {
        return Ok(number);
    }
    list::all(control).await?.last().map(|rollout| rollout.id.0).ok_or_else(|| {
        Failure::error(
            Diagnostic::new("BW0402", "there is no rollout yet")
                .help("begin one with `bellwether rollout start --release FILE`"),
        )
    })
}
