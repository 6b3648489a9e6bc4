//! `bellwether rollout …`: start, watch and steer a rollout through the control API.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bellwether_control::types::{StartRequest, Started, Status, VerbRequest};
use bellwether_core::{
    diagnostic::Diagnostic,
    rollout::{PauseReason, RolloutView, State, VerbKind},
    spec,
    time::Millis,
};

use crate::{
    client::{Control, ControlArgs},
    failure::{Exit, Failure, Outcome},
    output::{Output, print_json},
    runtime,
    view::{Frame, Narrator, Screen, frame, stage},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Sub,
}

#[derive(clap::Subcommand)]
enum Sub {
    /// Begin to move the fleet to a release
    Start(StartArgs),
    /// Follow a rollout until it is over; the exit code tells how it ended
    Watch(WatchArgs),
    /// Show one rollout, the latest unless a number is given
    Show(ShowArgs),
    /// List all rollouts of this fleet
    List(ListArgs),
    /// Stop before the next cutover; what runs is still judged
    Pause(VerbArgs),
    /// Go on after a pause
    Resume(VerbArgs),
    /// End the bake now, or go on where evidence is thin
    Promote(VerbArgs),
    /// Take all agents back to blue
    #[command(visible_alias = "abort")]
    Rollback(VerbArgs),
    /// Give up blue after completion; this cannot be undone
    Commit(VerbArgs),
}

#[derive(clap::Args)]
struct StartArgs {
    /// The release file
    #[arg(long, value_name = "FILE")]
    release: PathBuf,
    /// Divide bakes and validation by this; every other timer stays as it is
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    speed: f64,
    /// Measure the baseline for this long instead of what the fleet file says
    #[arg(long, value_name = "DURATION", value_parser = spec::millis)]
    baseline: Option<Millis>,
    /// Follow the rollout after it has started
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct WatchArgs {
    /// The rollout's number; the latest unless given
    rollout: Option<u64>,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct ShowArgs {
    /// The rollout's number; the latest unless given
    rollout: Option<u64>,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct ListArgs {
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct VerbArgs {
    /// The rollout's number; the latest unless given
    rollout: Option<u64>,
    /// Why; kept in the journal
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct Who {
    /// Who asks; kept in the journal
    #[arg(long, env = "USER", default_value = "operator", value_name = "NAME")]
    by: String,
}

pub(crate) fn run(args: Args) -> Outcome {
    runtime::block_on(async {
        match args.verb {
            Sub::Start(args) => start(args).await,
            Sub::Watch(args) => watch(&Control::new(&args.control.control), args.rollout, args.output).await,
            Sub::Show(args) => show(&args).await,
            Sub::List(args) => list(&args).await,
            Sub::Pause(args) => steer(VerbKind::Pause, &args).await,
            Sub::Resume(args) => steer(VerbKind::Resume, &args).await,
            Sub::Promote(args) => steer(VerbKind::Promote, &args).await,
            Sub::Rollback(args) => steer(VerbKind::Rollback, &args).await,
            Sub::Commit(args) => steer(VerbKind::Commit, &args).await,
        }
    })?
}

async fn start(args: StartArgs) -> Outcome {
    let control = Control::new(&args.control.control);
    let request = request(&args.release, args.speed, args.baseline, &args.who.by)?;
    let started: Started = control.post("/v1/rollouts", &request).await?;
    if args.output.is_json() && !args.watch {
        print_json(&started)?;
    } else {
        eprintln!("rollout {} started", started.rollout);
    }
    if args.watch { watch(&control, Some(started.rollout.0), args.output).await } else { Ok(Exit::Done) }
}

/// Reads the release and has its form checked here, so that errors name the place in the file.
pub(crate) fn request(path: &Path, speed: f64, baseline: Option<Millis>, by: &str) -> Result<StartRequest, Failure> {
    let (name, release) = crate::files::read_release(path)?;
    Ok(StartRequest { file: name, release, speed, baseline, drill: false, by: by.to_owned() })
}

async fn show(args: &ShowArgs) -> Outcome {
    let control = Control::new(&args.control.control);
    let id = number(&control, args.rollout).await?;
    let rollout: RolloutView = control.get(&format!("/v1/rollouts/{id}")).await?;
    if args.output.is_json() {
        print_json(&rollout)?;
    } else {
        let mut out = std::io::stdout().lock();
        for line in crate::view::describe(&rollout) {
            writeln!(out, "{line}").map_err(crate::output::cannot_write)?;
        }
    }
    Ok(Exit::Done)
}

async fn list(args: &ListArgs) -> Outcome {
    let rollouts: Vec<RolloutView> = Control::new(&args.control.control).get("/v1/rollouts").await?;
    if args.output.is_json() {
        print_json(&rollouts)?;
        return Ok(Exit::Done);
    }
    if rollouts.is_empty() {
        eprintln!("no rollout yet; begin one with `bellwether rollout start --release FILE`");
    }
    let mut out = std::io::stdout().lock();
    for rollout in &rollouts {
        let line = format!("{:>4}  {:<16} {}", rollout.id, rollout.release, stage(rollout));
        writeln!(out, "{line}").map_err(crate::output::cannot_write)?;
    }
    Ok(Exit::Done)
}

async fn steer(verb: VerbKind, args: &VerbArgs) -> Outcome {
    let control = Control::new(&args.control.control);
    let id = number(&control, args.rollout).await?;
    let request = VerbRequest { by: args.who.by.clone(), reason: args.reason.clone(), only: None };
    let rollout: RolloutView = control.post(&format!("/v1/rollouts/{id}/{}", verb.as_str()), &request).await?;
    if args.output.is_json() {
        print_json(&rollout)?;
    } else {
        eprintln!("rollout {id}: {}", stage(&rollout));
    }
    Ok(Exit::Done)
}

async fn number(control: &Control, given: Option<u64>) -> Result<u64, Failure> {
    if let Some(number) = given {
        return Ok(number);
    }
    let rollouts: Vec<RolloutView> = control.get("/v1/rollouts").await?;
    rollouts.last().map(|rollout| rollout.id.0).ok_or_else(|| {
        Failure::error(
            Diagnostic::new("BW0402", "there is no rollout yet")
                .help("begin one with `bellwether rollout start --release FILE`"),
        )
    })
}

const BEAT: Duration = Duration::from_millis(250);

async fn watch(control: &Control, given: Option<u64>, output: Output) -> Outcome {
    let id = number(control, given).await?;
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
            None => narrator.tell(&status, elapsed).iter().try_for_each(|line| writeln!(std::io::stderr(), "{line}")),
        };
        told.map_err(crate::output::cannot_write)?;
        if let Some(exit) = ended(&rollout) {
            if output.is_json() {
                print_json(&rollout)?;
            }
            return Ok(exit);
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// How a rollout ended, if it did: what waits for a person has ended for a pipeline.
pub(crate) fn ended(rollout: &RolloutView) -> Option<Exit> {
    match rollout.state {
        State::Completed | State::Committed => Some(Exit::Done),
        State::RolledBack => Some(Exit::RolledBack),
        State::NeedsAttention => Some(Exit::Undecided),
        State::PreflightFailed => Some(Exit::PreflightFailed),
        State::Preflight | State::Progressing { .. } | State::Validating { .. } | State::RollingBack { .. } => {
            (rollout.paused == Some(PauseReason::ThinEvidence)).then_some(Exit::Undecided)
        }
    }
}
