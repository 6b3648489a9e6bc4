//! The journal on the disk, and a process of its own that reads it: how long that takes, and what it holds then.

use std::{fs, path::Path, process::Command, time::Instant};

use bellwether_control::testing;
use bellwether_core::{rollout::Event, time::Now};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Replayed {
    pub(crate) ms: f64,
    /// Of the process, with the machine and the copy of it that the API reads.
    pub(crate) rss_bytes: u64,
    /// Of the same process before it read anything.
    pub(crate) rss_before_bytes: u64,
}

pub(crate) fn of(journal: &[(Now, Event)]) -> Result<(Replayed, u64), String> {
    let path = std::env::temp_dir().join(format!("bw-engine-{}-{}.sqlite", std::process::id(), journal.len()));
    let measured = on_disk(&path, journal);
    for end in ["", "-wal", "-shm"] {
        // Those that the database has removed itself are not there.
        drop(fs::remove_file(format!("{}{end}", path.display())));
    }
    measured
}

fn on_disk(path: &Path, journal: &[(Now, Event)]) -> Result<(Replayed, u64), String> {
    testing::write_journal(path, journal).map_err(|error| error.to_string())?;
    let bytes = fs::metadata(path).map_err(|error| error.to_string())?.len();
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let said = Command::new(program).arg("--replay").arg(path).output().map_err(|error| error.to_string())?;
    if !said.status.success() {
        return Err(String::from_utf8_lossy(&said.stderr).into_owned());
    }
    let replayed = serde_json::from_slice(&said.stdout).map_err(|error| error.to_string())?;
    Ok((replayed, bytes))
}

/// In the process that was started for it.
pub(crate) fn replayed(path: &Path) -> Result<Replayed, String> {
    let rss_before_bytes = resident()?;
    let began = Instant::now();
    let machine = testing::replay(path).map_err(|error| error.to_string())?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    let published = machine.clone();
    let rss_bytes = resident()?;
    std::hint::black_box((&machine, &published));
    Ok(Replayed { ms, rss_bytes, rss_before_bytes })
}

fn resident() -> Result<u64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().map_err(|_| format!("{line:?}"))?;
    Ok(kib << 10)
}
