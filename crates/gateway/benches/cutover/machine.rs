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
    machine: Duration,
}

/// Processors kept busy, on average.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct BusyCores {
    pub(crate) gateway: f64,
    /// Targets, clients and conductor.
    pub(crate) load: f64,
    /// Everything else on the machine, and what its host took from it. Much of it spoils the figures.
    pub(crate) others: f64,
}

impl Busy {
    pub(crate) fn of(gateway: u32) -> anyhow::Result<Self> {
        let load = used(std::process::id())?;
        Ok(Self { at: Instant::now(), gateway: used(gateway)?, load, machine: used_by_all()? })
    }

    pub(crate) fn since(&self, before: &Self) -> BusyCores {
        let elapsed = self.at.duration_since(before.at).as_secs_f64();
        let cores = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / elapsed;
        let (gateway, load) = (cores(self.gateway, before.gateway), cores(self.load, before.load));
        BusyCores { gateway, load, others: (cores(self.machine, before.machine) - gateway - load).max(0.0) }
    }
}

/// User and system time of a process: fields 14 and 15 of `proc_pid_stat(5)`.
fn used(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field is the program's name, which may hold blanks.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    ticks(fields.split_whitespace().skip(11).take(2)).with_context(|| format!("{path} is not of the known form"))
}

/// The first line of `proc_stat(5)`: user, nice, system, idle, iowait, irq, softirq, steal.
fn used_by_all() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let fields = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).unwrap_or_default().split_whitespace();
    let busy = fields.enumerate().filter(|(n, _)| !matches!(n, 3 | 4)).map(|(_, field)| field).take(6);
    ticks(busy).context("/proc/stat is not of the known form")
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Duration, std::num::ParseIntError> {
    let ticks = fields.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}
