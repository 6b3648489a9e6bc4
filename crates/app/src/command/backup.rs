//! `bellwether backup`.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bellwether_control::{
    BESIDE,
    types::{BackedUp, BackupRequest, Status},
};
use bellwether_core::{
    diagnostic::{Diagnostic, chain},
    spec::unit::Size,
};
use bellwether_store::{Backup, BackupError, GATEWAY, JOURNAL, Manifest, copy_at_rest};

use crate::{
    client::{Control, ControlArgs},
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
    runtime,
    supervisor::{lock::Lock, state::State},
};

/// Copy everything that a state directory holds for good to a folder, also while it is in use.
///
/// Journal, tasks and routes, the secret that instance tokens are derived from, and the resolved fleet file. The folder
/// holds that secret and every queued task, so it is readable for its owner alone. `bellwether restore` puts it back.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder that the backup becomes; it must not be there yet
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The state directory
    #[arg(long, value_name = "DIR", default_value = ".bellwether")]
    state: PathBuf,
    #[command(flatten)]
    control: ControlArgs,
    #[command(flatten)]
    output: Output,
}

/// A store of tens of gigabytes on a slow disk.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(crate) fn run(args: Args) -> Outcome {
    let to = std::path::absolute(&args.to).map_err(|error| failed(&error))?;
    let done = match at_rest(&args.state)? {
        Some((state, _lock)) => BackedUp { manifest: copy(&state, &to)?, to },
        None => runtime::block_on(in_use(&args, to))??,
    };
    if args.output.is_json() {
        print_json(&done)?;
        return Ok(Exit::Done);
    }
    let bytes: u64 = done.manifest.files.values().map(|file| file.bytes).sum();
    let text = format!("{}: fleet {}, {}", done.to.display(), done.manifest.fleet, Size(bytes));
    writeln!(std::io::stdout().lock(), "{text}").map_err(cannot_write)?;
    Ok(Exit::Done)
}

/// The state directory, where nobody serves from it.
fn at_rest(path: &Path) -> Result<Option<(State, Lock)>, Failure> {
    if !path.join(JOURNAL.file).exists() {
        return Ok(None);
    }
    let state = State::open(path)?;
    Ok(Lock::if_free(state.path())?.map(|lock| (state, lock)))
}

fn copy(state: &State, to: &Path) -> Result<Manifest, Failure> {
    let of_state = |name: &str| state.path().join(name);
    let fleet = state.fleet().unwrap_or_default();
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let write = || {
        let backup = Backup::begin(to)?;
        let copied = [JOURNAL, GATEWAY].iter().try_for_each(|kind| {
            let from = of_state(kind.file);
            if from.exists() { copy_at_rest(&from, &backup.path(kind.file)) } else { Ok(()) }
        });
        let taken = copied.map_err(BackupError::from);
        match taken.and_then(|()| BESIDE.iter().try_for_each(|name| backup.take(&of_state(name)))) {
            Ok(()) => backup.finish(&fleet, u64::try_from(made.as_millis()).unwrap_or(u64::MAX)),
            Err(error) => {
                backup.abandon();
                Err(error)
            }
        }
    };
    write().map_err(|error| failed(&error))
}

/// The controller does it, because the stores are its and the gateway's.
async fn in_use(args: &Args, to: PathBuf) -> Result<BackedUp, Failure> {
    let control = Control::new(&args.control.control);
    let status: Status = control.get("/v1/status").await?;
    if let Some(fleet) = State::open_if_there(&args.state).and_then(|state| state.fleet())
        && fleet != status.fleet
    {
        let cause =
            format!("{} is of fleet {fleet:?}, the controller of fleet {:?}", args.state.display(), status.fleet);
        return Err(Failure::error(
            Diagnostic::new("BW0350", "no backup was made")
                .because(cause)
                .help("name the controller of this state directory with --control, or another one with --state"),
        ));
    }
    control.post_within(PATIENCE, "/v1/backups", &BackupRequest { to }).await
}

fn failed(error: &dyn std::error::Error) -> Failure {
    let help = "name a folder that is not there yet with --to, on a disk with room for both stores";
    Failure::error(Diagnostic::new("BW0350", "no backup was made").because(chain(error)).help(help))
}
