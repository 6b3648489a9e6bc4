//! What the kernel says of a process and its children.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A proxy needs two sockets for each stream; children inherit the limit.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        eprintln!("cannot raise the limit of open files: {error}");
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// As `/proc/cpuinfo` names it.
pub(crate) fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    named.map_or("unknown processor", |(_, name)| name.trim()).to_owned()
}

pub(crate) fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// User and system time of all threads that run, to the nanosecond: the first field of `schedstat`.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for process in family(pid)? {
        let threads = PathBuf::from(format!("/proc/{process}/task"));
        for thread in fs::read_dir(&threads).with_context(|| format!("cannot read {}", threads.display()))? {
            let path = thread?.path().join("schedstat");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let first = text.split_whitespace().next().unwrap_or_default();
            nanos += first.parse::<u64>().with_context(|| format!("{} is not of the known form", path.display()))?;
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory: the second field of `statm`.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let mut pages = 0;
    for process in family(pid)? {
        let path = format!("/proc/{process}/statm");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let second = text.split_whitespace().nth(1).unwrap_or_default();
        pages += second.parse::<u64>().with_context(|| format!("{path} is not of the known form"))?;
    }
    Ok(pages * rustix::param::page_size() as u64)
}

/// The process and its children; workers have none of their own.
fn family(pid: u32) -> anyhow::Result<Vec<u32>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let children = text.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>();
    let children = children.with_context(|| format!("{path} is not of the known form"))?;
    Ok(std::iter::once(pid).chain(children).collect())
}
