//! `bellwether restore`.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use bellwether_control::{PUT_BACK, PutBack};
use bellwether_core::{
    diagnostic::{Diagnostic, chain},
    id::InstanceId,
    time::UnixMillis,
};
use bellwether_drivers::process;
use bellwether_store::{CopyError, GATEWAY, JOURNAL, Kind, Manifest, Refused, check, copy_file, highest_instance};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    failure::{Exit, Failure, Outcome},
    output::{Output, cannot_write, print_json},
    runtime,
    supervisor::{
        failures,
        lock::Lock,
        put_back::{self, Plan, ready},
        state::State,
    },
    view::moment,
};

/// Put a backup back into a state directory; what is there is kept aside.
///
/// Nobody may serve from the directory, and none of its agents may run. The backup is verified first. Afterwards `serve`
/// starts every agent anew: tasks that had not ended when the backup was made are done again, those that had stay ended.
/// Also takes a copy of one store that was kept before its form changed (`journal.sqlite.schema-1.bak`).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder that `bellwether backup` made, or a copy of one store that was kept
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// The state directory; made where there is none
    #[arg(long, value_name = "DIR", default_value = ".bellwether")]
    state: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// What is to be put back, verified.
struct Source {
    /// Each file, and its name in the state directory.
    files: Vec<(PathBuf, String)>,
    manifest: Option<Manifest>,
}

#[derive(Serialize)]
struct Restored {
    state: PathBuf,
    files: Vec<String>,
    /// What was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    aside: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Outcome {
    let source = if args.from.is_dir() { of_backup(&args.from)? } else { of_kept_copy(&args.from)? };
    let state = State::open(&args.state)?;
    let _lock = runtime::block_on(Lock::take(state.path(), false))??;
    put_back::finish(state.path()).map_err(|error| failures::put_back(state.path(), &error))?;
    same_fleet(&state, source.manifest.as_ref())?;
    nothing_runs(state.path())?;
    let restored = restore(state.path(), &source)?;
    if args.output.is_json() {
        print_json(&restored)?;
        return Ok(Exit::Done);
    }
    let mut out = std::io::stdout().lock();
    let made = source.manifest.map(|it| format!(", as of {}", moment(UnixMillis(it.made_ms)))).unwrap_or_default();
    let text = format!("{}: {}{made}", restored.state.display(), restored.files.join(", "));
    writeln!(out, "{text}").map_err(cannot_write)?;
    if let Some(aside) = restored.aside {
        writeln!(out, "what was there before is in {}", aside.display()).map_err(cannot_write)?;
    }
    Ok(Exit::Done)
}

fn of_backup(from: &Path) -> Result<Source, Failure> {
    let manifest = Manifest::verified(from).map_err(|error| unusable(&error))?;
    for kind in [JOURNAL, GATEWAY] {
        let path = from.join(kind.file);
        if path.exists() {
            check(&path, kind).map_err(|error| unusable(&error))?;
        }
    }
    let files = manifest.files.keys().map(|name| (from.join(name), name.clone())).collect();
    Ok(Source { files, manifest: Some(manifest) })
}

/// A single store. Which one it is, it says itself.
fn of_kept_copy(from: &Path) -> Result<Source, Failure> {
    let kind = match (check(from, JOURNAL), check(from, GATEWAY)) {
        (Ok(Some(_)), _) => JOURNAL,
        (_, Ok(Some(_))) => GATEWAY,
        (Err(Refused::Foreign { .. }), Err(error)) | (Err(error), _) => return Err(unusable(&error)),
        (Ok(None), other) => {
            let cause = other.err().map_or("it is empty".to_owned(), |error| chain(&error));
            return Err(Failure::invalid(vec![not_usable().because(cause)]));
        }
    };
    Ok(Source { files: vec![(from.to_owned(), kind.file.to_owned())], manifest: None })
}

fn same_fleet(state: &State, manifest: Option<&Manifest>) -> Result<(), Failure> {
    match (state.fleet(), manifest) {
        (Some(held), Some(manifest)) if held != manifest.fleet => Err(failures::state(
            state.path(),
            format!("it belongs to the fleet {held:?}, and the backup is of {:?}", manifest.fleet),
            "restore to another directory with --state",
        )),
        _ => Ok(()),
    }
}

/// An instance that runs on would go on with a number that the stores do not know.
fn nothing_runs(state: &Path) -> Result<(), Failure> {
    let running = process::running(state).map_err(|error| failures::driver(state, &error))?;
    if running.is_empty() {
        return Ok(());
    }
    let named = |left: &process::Left| match &left.agent {
        Some(agent) => format!("{agent} (process {})", left.pid),
        None => format!("process {} of instance {}", left.pid, left.instance),
    };
    let names = crate::wording::some(running.iter().map(named).collect::<Vec<_>>().iter().map(String::as_str), 6);
    let pids = running.iter().map(|left| left.pid.to_string()).collect::<Vec<_>>().join(" ");
    Err(Failure::error(
        Diagnostic::new("BW0352", format!("agents of {} still run", state.display())).because(names).help(format!(
            "end them first: start `bellwether serve --stop-agents` on it and end that with Ctrl-C, or `kill {pids}`"
        )),
    ))
}

fn restore(state: &Path, source: &Source) -> Result<Restored, Failure> {
    let not_written = |error: &dyn std::error::Error| {
        Failure::error(
            Diagnostic::new("BW0353", format!("nothing was restored to {}", state.display()))
                .because(chain(error))
                .help("make room and check who owns the directory; what was there is as it was"),
        )
    };
    for (from, name) in &source.files {
        copy_file(from, &state.join(ready(name))).map_err(|error: CopyError| not_written(&error))?;
    }
    let note = serde_json::to_vec(&PutBack { next: first_free(state, source) }).map_err(|error| not_written(&error))?;
    fs::write(state.join(ready(PUT_BACK)), note).map_err(|error| not_written(&error))?;
    let mut files: Vec<String> = source.files.iter().map(|(_, name)| name.clone()).collect();
    let told = files.clone();
    files.push(PUT_BACK.to_owned());
    let of_stores = |kind: Kind| {
        let own = files.iter().any(|name| name == kind.file);
        ["-wal", "-shm"].map(|ending| format!("{}{ending}", kind.file)).into_iter().filter(move |_| own)
    };
    let mut gone: Vec<String> = [JOURNAL, GATEWAY].into_iter().flat_map(of_stores).collect();
    gone.extend(["rollback.mark", "journal.reserve", "gateway.reserve"].map(str::to_owned));
    let aside = format!("restored-over-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
    let plan = Plan { aside: aside.clone(), gone, files };
    put_back::carry_out(state, &plan).map_err(|error| failures::put_back(state, &error))?;
    let aside = state.join(aside);
    let is_empty = fs::read_dir(&aside).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        // Fails only where it is not empty after all.
        drop(fs::remove_dir(&aside));
    }
    Ok(Restored { state: state.to_owned(), files: told, aside: (!is_empty).then_some(aside) })
}

/// Above every instance number that anything here knows of. What nothing here knows of, the controller leaves room for.
fn first_free(state: &Path, source: &Source) -> InstanceId {
    let records = fs::read_dir(state.join("instances")).into_iter().flatten().flatten();
    let recorded = records.filter_map(|entry| entry.path().file_stem()?.to_str()?.parse::<u64>().ok());
    let stores = source.files.iter().filter(|(_, name)| name == GATEWAY.file).map(|(path, _)| path.clone());
    let stores = stores.chain([state.join(GATEWAY.file)]);
    let known = recorded.chain(stores.filter_map(|store| highest_instance(&store)));
    InstanceId(known.max().unwrap_or(0)).next()
}

fn not_usable() -> Diagnostic {
    Diagnostic::new("BW0351", "this cannot be restored")
        .help("nothing was changed; name the folder of a backup, or a copy that was kept")
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    Failure::invalid(vec![not_usable().because(chain(error))])
}
