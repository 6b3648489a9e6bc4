//! What the machine says of the two processes.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

/// Two sockets for each agent, and several connections; the child inherits the limit.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("cannot raise the limit of open files: {error}");
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Processor time used so far.
pub(crate) struct Busy {
    at: Instant,
    gateway: Duration,
    load: Duration,
}

/// Processors kept busy, on average.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct BusyCores {
    pub(crate) gateway: f64,
    /// Targets, clients and conductor.
    pub(crate) load: f64,
}

impl Busy {
    pub(crate) fn of(gateway: u32) -> anyhow::Result<Self> {
        Ok(Self { at: Instant::now(), gateway: used(gateway)?, load: used(std::process::id())? })
    }

    pub(crate) fn since(&self, before: &Self) -> BusyCores {
        let elapsed = self.at.duration_since(before.at).as_secs_f64();
        let cores = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / elapsed;
        BusyCores { gateway: cores(self.gateway, before.gateway), load: cores(self.load, before.load) }
    }
}

/// User and system time of a process: fields 14 and 15 of `proc_pid_stat(5)`.
fn used(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is the program's name, which may hold blanks.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>();
    let ticks = ticks.with_context(|| format!("{path} is not of the known form"))?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}
