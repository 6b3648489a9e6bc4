//! One supervisor per state directory: an advisory lock on a file that says who holds it.
//!
//! The gateway and the controller inherit the lock. So whoever gets it knows that not only the supervisor
//! before it is gone, but that none of its children writes to the stores any more.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use bellwether_drivers::linux::{Process, Signal, proc};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::failures;
use crate::failure::Failure;

pub(crate) const FILE: &str = "lock";

/// What a supervisor that died leaves ends within this.
const AFTERLIFE: Duration = Duration::from_secs(5);

pub(crate) struct Lock {
    file: File,
}

#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    started_ticks: u64,
    boot: String,
}

impl Lock {
    /// With `take_over` the holder is killed first, and is seen to be dead before this returns.
    pub(crate) async fn take(state: &Path, take_over: bool) -> Result<Self, Failure> {
        let help = "check who owns the directory, and that its file system is local";
        let path = state.join(FILE);
        let unusable = |error: io::Error| failures::state(state, format!("{}: {error}", path.display()), help);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.map_err(unusable)?;
        let deadline = Instant::now() + AFTERLIFE;
        let mut ended = None;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(unusable(error.into())),
            }
            match holder(&mut file).map_err(unusable)? {
                Some(process) if take_over => {
                    end(&process).await.map_err(|error| {
                        failures::held(state, Some(process.pid()), &format!("it could not be ended: {error}"))
                    })?;
                    eprintln!("process {} was ended", process.pid());
                    ended = Some(process.pid());
                }
                Some(process) => return Err(failures::held(state, Some(process.pid()), "it holds the lock")),
                // It has died, or has not written its name yet.
                None if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(20)).await,
                None => return Err(failures::held(state, ended, "the lock is held, and not by who is named in it")),
            }
        }
        write_own(&mut file).map_err(unusable)?;
        Ok(Self { file })
    }

    /// For a moment in which nobody serves. None if somebody does.
    pub(crate) fn if_free(state: &Path) -> Result<Option<Self>, Failure> {
        let help = "check who owns the directory, and that its file system is local";
        let path = state.join(FILE);
        let unusable = |error: io::Error| failures::state(state, format!("{}: {error}", path.display()), help);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = open.map_err(unusable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                write_own(&mut file).map_err(unusable)?;
                Ok(Some(Self { file }))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(unusable(error.into())),
        }
    }

    /// For a child to hold beside this one.
    pub(crate) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

/// The living process that is named in the file.
fn holder(file: &mut File) -> io::Result<Option<Process>> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    let Ok(named) = serde_json::from_str::<Holder>(&text) else { return Ok(None) };
    if named.boot != proc::boot_id()? {
        return Ok(None);
    }
    Process::open_exact(named.pid, named.started_ticks)
}

async fn end(process: &Process) -> io::Result<()> {
    process.signal(Signal::KILL)?;
    tokio::time::timeout(AFTERLIFE, process.ended()).await.map_err(|_elapsed| io::ErrorKind::TimedOut)?
}

fn write_own(file: &mut File) -> io::Result<()> {
    let pid = std::process::id();
    let holder = Holder { pid, started_ticks: proc::stat(pid)?.started_ticks, boot: proc::boot_id()? };
    let text = serde_json::to_vec(&holder)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}
