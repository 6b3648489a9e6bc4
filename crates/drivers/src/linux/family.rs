//! Ties between parent and child processes.

use std::io;

use rustix::process::{Signal, getpid, getppid, set_child_subreaper, set_parent_process_death_signal};

/// From here on processes that lose their parent below this one become its children, so that none of an
/// instance's processes can hide behind init.
pub fn become_subreaper() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Sends `signal` to this process when the thread that started it ends. `parent` is the process that is
/// expected there; if it is gone already, no signal would ever come, and this says so.
pub fn end_with_parent(parent: u32, signal: Signal) -> io::Result<()> {
    set_parent_process_death_signal(Some(signal))?;
    let now = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if now == Some(parent) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("the parent process {parent} is gone")))
}
