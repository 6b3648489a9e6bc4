//! Memory of everything that the demo started, as the kernel counts it: proportional set size, so that
//! shared pages count once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

/// Samples until dropped.
pub(crate) struct MemoryWatch {
    peak_bytes: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

const BEAT: Duration = Duration::from_secs(3);

impl MemoryWatch {
    pub(crate) fn start() -> Self {
        let peak_bytes = Arc::new(AtomicU64::new(0));
        let peak = peak_bytes.clone();
        let task = tokio::spawn(async move {
            loop {
                match tokio::task::spawn_blocking(|| of_tree(std::process::id())).await {
                    Ok(bytes) => drop(peak.fetch_max(bytes, Ordering::Relaxed)),
                    Err(error) => eprintln!("memory cannot be measured: {error}"),
                }
                tokio::time::sleep(BEAT).await;
            }
        });
        Self { peak_bytes, task }
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The process and all that descend from it.
fn of_tree(root: u32) -> u64 {
    family(root).into_iter().filter_map(proportional_bytes).sum()
}

/// The process with all its descendants that are alive now.
pub(crate) fn family(root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in
        fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
    {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut family = BTreeSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        if family.insert(pid) {
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    family
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold anything, also spaces and brackets: fields count from the last bracket.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A process that ended meanwhile has none.
fn proportional_bytes(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_belongs_to_the_family_and_has_memory() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let family = family(std::process::id());
        assert!(family.contains(&child.id()));
        assert!(proportional_bytes(child.id()).is_some_and(|bytes| bytes > 4096));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
