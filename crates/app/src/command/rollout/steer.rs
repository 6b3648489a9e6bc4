//! The verbs of `bellwether rollout`: what a person may ask of a rollout that is under way.

use std::collections::BTreeSet;

use bellwether_control::types::VerbRequest;
use bellwether_core::{
    id::PhaseName,
    rollout::{Only, RolloutView, VerbKind},
};

use super::{Who, dry, number};
use crate::{
    client::{Control, ControlArgs},
    failure::{Exit, Outcome},
    output::{Output, print_json},
    view::{intent, limits, stage},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The rollout's number; the latest unless given
    #[arg(value_parser = super::id)]
    rollout: Option<u64>,
    #[command(flatten)]
    asking: Asking,
}

/// What goes forward: a freeze window may be in the way.
#[derive(clap::Args)]
pub(crate) struct OnwardArgs {
    #[command(flatten)]
    args: Args,
    /// Go on in a freeze window, and heed none for the rest of this rollout; why is kept in the journal
    #[arg(long, value_name = "REASON")]
    override_freeze: Option<String>,
}

/// Take all agents back to blue, or a part of them.
///
/// Possible at any time until the rollout is committed, and as often as wanted. All traffic goes back at once; then green
/// ends, and blue is validated. With one of --only-agents, --only-types and --only-phase that part alone goes back, and
/// the rest of the rollout goes on.
#[derive(clap::Args)]
pub(crate) struct RollbackArgs {
    /// The rollout's number; the latest unless given
    #[arg(value_parser = super::id)]
    rollout: Option<u64>,
    /// These agents alone
    #[arg(long, value_name = "AGENT,…", value_delimiter = ',', group = "part")]
    only_agents: Vec<String>,
    /// Agents of these types alone
    #[arg(long, value_name = "TYPE,…", value_delimiter = ',', group = "part")]
    only_types: Vec<String>,
    /// Agents of this phase alone
    #[arg(long, value_name = "PHASE", group = "part")]
    only_phase: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Keep single agents on blue, or take them back to it, while the rest goes on.
///
/// The same as `rollback --only-agents`: they stay on blue for the rest of the rollout.
#[derive(clap::Args)]
pub(crate) struct HoldBackArgs {
    /// Their names
    #[arg(required = true, value_name = "AGENT")]
    agents: Vec<String>,
    /// The rollout's number; the latest unless given
    #[arg(long, value_name = "NUMBER", value_parser = super::id)]
    rollout: Option<u64>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(clap::Args)]
struct Asking {
    /// Why; kept in the journal
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    reason: String,
    /// Say what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

pub(super) async fn run(verb: VerbKind, args: &Args) -> Outcome {
    steer(verb, args.rollout, None, None, &args.asking).await
}

pub(super) async fn onward(verb: VerbKind, args: OnwardArgs) -> Outcome {
    let OnwardArgs { args, override_freeze } = args;
    steer(verb, args.rollout, None, override_freeze, &args.asking).await
}

pub(super) async fn rollback(args: RollbackArgs) -> Outcome {
    let only = if !args.only_agents.is_empty() {
        Some(Only::Agents(named(&args.only_agents)))
    } else if !args.only_types.is_empty() {
        Some(Only::Types(named(&args.only_types)))
    } else {
        args.only_phase.map(|phase| Only::Phase(PhaseName::new(phase)))
    };
    steer(VerbKind::Rollback, args.rollout, only, None, &args.asking).await
}

pub(super) async fn hold_back(args: HoldBackArgs) -> Outcome {
    let only = Only::Agents(named(&args.agents));
    steer(VerbKind::Rollback, args.rollout, Some(only), None, &args.asking).await
}

fn named<T: Ord + for<'w> From<&'w str>>(words: &[String]) -> BTreeSet<T> {
    words.iter().map(|word| T::from(word.trim())).collect()
}

async fn steer(
    verb: VerbKind,
    given: Option<u64>,
    only: Option<Only>,
    override_freeze: Option<String>,
    asking: &Asking,
) -> Outcome {
    let control = Control::new(&asking.control.control);
    let id = number(&control, given).await?;
    let path = format!("/v1/rollouts/{id}/{}", verb.as_str());
    // What is asked for is meant for the rollout as it is seen here, and is refused if it has moved on by then.
    let seen: RolloutView = control.get(&format!("/v1/rollouts/{id}")).await?;
    let request = VerbRequest {
        by: asking.who.by.clone(),
        reason: asking.reason.clone(),
        only,
        override_freeze,
        expect: Some(seen.position.to_string()),
        dry_run: asking.dry_run,
    };
    if asking.dry_run {
        return dry::show(&control.post(&path, &request).await?, asking.output);
    }
    if request.only.is_none() {
        eprintln!("rollout {id} stands at: {}; asked for: {}", stage(&seen), intent(verb, &seen));
    }
    let rollout: RolloutView = control.post_once(&path, &request).await?;
    if asking.output.is_json() {
        print_json(&rollout)?;
        return Ok(Exit::Done);
    }
    match &request.only {
        Some(only) => eprintln!("rollout {id}: {only}: on blue from here on; {}", stage(&rollout)),
        None => eprintln!("rollout {}: {}", rollout.id, stage(&rollout)),
    }
    for line in limits(&rollout) {
        eprintln!("{line}");
    }
    Ok(Exit::Done)
}
