//! A process held by a descriptor: its number cannot come to mean another process, and its end is an event.

use std::{io, os::fd::OwnedFd};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open, pidfd_send_signal,
    waitid,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::proc;

/// A process, a child of this one or not.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    descriptor: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process that has this number at the moment. Must run inside a tokio runtime.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, descriptor: watch(descriptor)? })
    }

    /// The process that has this number *and* started at this tick; `None` if it is gone.
    pub fn open_exact(pid: u32, started_ticks: u64) -> io::Result<Option<Self>> {
        let process = match Self::open(pid) {
            Ok(process) => process,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // Read after the descriptor is held: the number cannot change its meaning in between.
        match proc::stat(pid) {
            Ok(stat) if stat.started_ticks == started_ticks && !stat.is_dead() => Ok(Some(process)),
            Ok(_other) => Ok(None),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Resolves when the process has ended, reaped or not. Can be dropped and called again.
    pub async fn ended(&self) -> io::Result<()> {
        // The guard is not cleared: an ended process stays ended.
        self.descriptor.readable().await.map(drop)
    }

    /// To this process alone. A process that is gone has got its signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        gone_is_fine(pidfd_send_signal(self.descriptor.get_ref(), signal))
    }

    /// To every process of the group that this process leads.
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        gone_is_fine(kill_process_group(self.pid, signal))
    }

    /// How it ended, if it was a child of this process and has ended. Frees its number.
    pub fn reap(&self) -> io::Result<Option<WaitIdStatus>> {
        use std::os::fd::AsFd;
        match waitid(WaitId::PidFd(self.descriptor.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(status) => Ok(status),
            Err(rustix::io::Errno::CHILD) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[expect(unsafe_code, reason = "tokio asks its caller to vouch for the descriptor")]
fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives, and nothing here lends it out
    // mutably or takes it from the `AsyncFd` before that is dropped.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}

/// Reaps one orphan that became a child of this process.
pub(crate) fn reap_orphan(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(_) | Err(rustix::io::Errno::CHILD) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Signals the process with this number if it started at this tick, without a runtime.
pub fn kill_exact(pid: u32, started_ticks: u64, signal: Signal) -> io::Result<()> {
    let pid_number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    let descriptor = match pidfd_open(pid_number, PidfdFlags::empty()) {
        Ok(descriptor) => descriptor,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Read after the descriptor is held: the number cannot change its meaning in between.
    match proc::stat(pid) {
        Ok(stat) if stat.started_ticks == started_ticks => gone_is_fine(pidfd_send_signal(descriptor, signal)),
        Ok(_other) => Ok(()),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn gone_is_fine(sent: rustix::io::Result<()>) -> io::Result<()> {
    match sent {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => Ok(other?),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}
