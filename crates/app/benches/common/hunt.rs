//! SIGKILL for the parts of a run, and for nobody else.
//!
//! Only children of the run's own supervisor are killed. A victim is held by its pidfd before its parent is looked at,
//! so that a pid that was given to somebody else is never hit.

use std::{fs, os::fd::OwnedFd, time::Instant};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// The children of one supervisor.
pub(crate) struct Family {
    pub(crate) supervisor: u32,
}

/// A process that cannot be mistaken for another.
pub(crate) struct Held(OwnedFd);

impl Family {
    /// What the supervisor has started in this role.
    pub(crate) fn child(&self, role: &str) -> Option<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.supervisor)).ok()?.flatten();
        let children = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
        let pids: Vec<u32> =
            children.flat_map(|pids| pids.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
        pids.into_iter().find(|pid| {
            let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            command.contains(&format!("internal\0{role}\0"))
        })
    }

    /// None if it is no child of the supervisor, or has ended.
    pub(crate) fn hold(&self, pid: u32) -> Option<Held> {
        let held = Held::open(pid)?;
        self.is_ours(pid).then_some(held)
    }

    /// The fourth field of `proc_pid_stat(5)`, behind a name that may hold anything, is the parent. The third tells a
    /// process that has ended already.
    fn is_ours(&self, pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
        fields.next().is_some_and(|state| state != "Z")
            && fields.next().and_then(|parent| parent.parse().ok()) == Some(self.supervisor)
    }
}

impl Held {
    /// For a child of this process that it has not waited for.
    pub(crate) fn open(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// False if it had ended already.
    pub(crate) fn kill(&self) -> bool {
        pidfd_send_signal(&self.0, Signal::KILL).is_ok()
    }

    /// Waits until it is dead: all that it held open is closed then.
    pub(crate) fn dead(&self) -> std::io::Result<Instant> {
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None)?;
        Ok(Instant::now())
    }
}
