//! `bellwether rollout start`.

use std::path::{Path, PathBuf};

use bellwether_control::types::{DryRun, StartRequest, Started};
use bellwether_core::{spec, time::Millis};

use super::{Who, dry, watch::watch};
use crate::{
    client::{Control, ControlArgs},
    failure::{Exit, Failure, Outcome},
    output::{Output, print_json},
};

/// Begin to move the fleet to a release.
///
/// The baseline is measured first; nothing is touched until it is there. Returns as soon as the controller has taken the
/// rollout, or with --watch when it is over; then the exit code tells how it ended.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    wanted: Wanted,
    /// Follow the rollout until it is over: exit code 0 completed, 3 rolled back, 4 a person has to decide, 5 preflight
    /// failed
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// Say what would happen, with the plan that the controller would make now, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

/// What a rollout and a drill are asked for with.
#[derive(clap::Args)]
pub(crate) struct Wanted {
    /// The release file: what changes
    #[arg(long, value_name = "FILE")]
    pub(crate) release: PathBuf,
    /// Divide bakes and validation by this, to rehearse or to show; every other timer stays as it is
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    pub(crate) speed: f64,
    /// Measure the baseline for this long instead of what the fleet file says
    #[arg(long, value_name = "DURATION", value_parser = spec::millis)]
    pub(crate) baseline: Option<Millis>,
    /// Move the fleet that runs, although its file was edited since `serve` started
    #[arg(long)]
    pub(crate) with_running_fleet: bool,
    /// Begin in a freeze window all the same, and heed none while it is under way; why is kept in the journal
    #[arg(long, value_name = "REASON")]
    pub(crate) override_freeze: Option<String>,
    #[command(flatten)]
    pub(crate) who: Who,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
}

impl Wanted {
    /// Begins it; the rollout's number.
    pub(crate) async fn begin(&self, control: &Control, drill: bool) -> Result<Started, Failure> {
        control.post_once("/v1/rollouts", &self.request(drill)?).await
    }

    /// What [`Self::begin`] would do.
    pub(crate) async fn rehearse(&self, control: &Control, drill: bool) -> Result<DryRun, Failure> {
        control.post("/v1/rollouts", &StartRequest { dry_run: true, ..self.request(drill)? }).await
    }

    fn request(&self, drill: bool) -> Result<StartRequest, Failure> {
        let request = request(&self.release, self.speed, self.baseline, &self.who.by)?;
        let override_freeze = self.override_freeze.clone();
        let with_running_fleet = self.with_running_fleet;
        Ok(StartRequest { drill, with_running_fleet, override_freeze, ..request })
    }
}

pub(super) async fn run(args: Args) -> Outcome {
    let control = Control::new(&args.wanted.control.control);
    if args.dry_run {
        return dry::show(&args.wanted.rehearse(&control, false).await?, args.output);
    }
    let started = args.wanted.begin(&control, false).await?;
    if args.output.is_json() && !args.watch {
        print_json(&started)?;
    } else if args.watch {
        eprintln!("rollout {} started", started.rollout);
    } else {
        eprintln!("rollout {} started; `bellwether rollout watch` follows it", started.rollout);
    }
    if args.watch { watch(&control, started.rollout.0, args.output).await } else { Ok(Exit::Done) }
}

/// Reads the release and has its form checked here, so that errors name the place in the file.
pub(crate) fn request(path: &Path, speed: f64, baseline: Option<Millis>, by: &str) -> Result<StartRequest, Failure> {
    let (name, release) = crate::files::read_release(path)?;
    Ok(StartRequest {
        file: name,
        release,
        speed,
        baseline,
        drill: false,
        with_running_fleet: false,
        override_freeze: None,
        by: by.to_owned(),
        dry_run: false,
    })
}
