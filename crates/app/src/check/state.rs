//! The state directory: ours, with room and a disk that keeps what it is given; and the backup that goes into it.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bellwether_core::spec::unit::Size;
use serde_json::Value;

use super::{Asked, Check};
use crate::files::SourceFile;

const STATE: &str = "state directory";
const BACKUP: &str = "backup";
/// Logs and one-second records of a day go on growing below this.
const FREE_WANTED: u64 = 2 << 30;
/// Below this a day's records and the journal do not fit.
const FREE_MIN: u64 = 256 << 20;
const WRITES: usize = 5;
const WRITE_BYTES: usize = 4096;
/// Each decision is on the disk before it acts, so this is the least that every step takes.
const SYNC_MAX: Duration = Duration::from_millis(100);

pub(super) fn check(state: &Path, fleet: &str) -> Check {
    if let Some(other) = mark(state).filter(|other| other != fleet) {
        let remedy = "give this fleet a state directory of its own with --state";
        return Check::failed(STATE, format!("{} belongs to the fleet {other:?}", state.display()), remedy);
    }
    let place = existing(state);
    let free = match rustix::fs::statvfs(&place) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return unusable(&place, error.into()),
    };
    let median = match written(&place) {
        Ok(median) => median,
        Err(error) => return unusable(&place, error),
    };
    let is = if place == state { String::new() } else { " (which will be made)".to_owned() };
    let evidence = format!(
        "{}{is}: {} free; 4 KiB written and synced in {:.1} ms",
        state.display(),
        Size(free),
        median.as_secs_f64() * 1e3
    );
    if free < FREE_MIN {
        return Check::failed(STATE, evidence, "make room, or choose another disk with --state");
    }
    if median > SYNC_MAX {
        let remedy = "choose a local disk with --state: every decision waits for it";
        return Check::warning(STATE, evidence, remedy);
    }
    if free < FREE_WANTED {
        return Check::warning(STATE, evidence, "make room: logs and records of a day may want 2 GiB");
    }
    Check::ok(STATE, evidence)
}

/// Copies of everything that was read, named by content, so that the same file is kept once.
pub(super) fn backup(asked: &Asked, sources: &[SourceFile]) -> Check {
    if !asked.backup {
        return Check::skipped(BACKUP, "left out with --no-backup");
    }
    let folder = asked.state.join("backup");
    let mut kept = Vec::new();
    for source in sources {
        match keep(&folder, source) {
            Ok(name) => kept.push(name),
            Err(error) => {
                let evidence =
                    format!("{} could not be copied to {}: {error}", source.path.display(), folder.display());
                return Check::failed(BACKUP, evidence, "check who may write there, or choose another --state");
            }
        }
    }
    Check::ok(BACKUP, format!("in {}: {}", folder.display(), kept.join(", ")))
}

fn keep(folder: &Path, source: &SourceFile) -> io::Result<String> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let hash = blake3::hash(source.text.as_bytes()).to_hex();
    let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = part(source.path.file_stem()).unwrap_or_else(|| "file".to_owned());
    let ending = part(source.path.extension()).map_or(String::new(), |ending| format!(".{ending}"));
    let name = format!("{stem}-{}{ending}", &hash[..12]);
    let path = folder.join(&name);
    if fs::read(&path).is_ok_and(|there| blake3::hash(&there).to_hex() == hash) {
        return Ok(name);
    }
    let partial = folder.join(format!("{name}.partial"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(source.text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, &path)?;
    Ok(name)
}

/// The fleet that the directory belongs to, where it is one of ours.
fn mark(state: &Path) -> Option<String> {
    let mark: Value = serde_json::from_slice(&fs::read(state.join("bellwether.json")).ok()?).ok()?;
    mark["fleet"].as_str().map(str::to_owned)
}

/// The directory itself, or the nearest one above it that is there.
fn existing(state: &Path) -> PathBuf {
    let above = state.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    if above.as_os_str().is_empty() { PathBuf::from(".") } else { above.to_owned() }
}

/// The median of some small writes that reached the disk.
fn written(place: &Path) -> io::Result<Duration> {
    let path = place.join(format!(".bellwether-check-{}", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let mut took = Vec::with_capacity(WRITES);
        for _ in 0..WRITES {
            let began = Instant::now();
            file.write_all(&[0; WRITE_BYTES])?;
            file.sync_data()?;
            took.push(began.elapsed());
        }
        took.sort();
        Ok(took[WRITES / 2])
    };
    let median = write();
    match fs::remove_file(&path) {
        Err(error) if median.is_ok() => Err(error),
        _ => median,
    }
}

fn unusable(place: &Path, error: io::Error) -> Check {
    let evidence = format!("{} cannot be written: {error}", place.display());
    Check::failed(STATE, evidence, "choose another directory with --state, or make this one yours")
}
