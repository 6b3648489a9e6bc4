//! Clears up after instances that have ended: processes that had left the group and still carry the mark,
//! and control groups. One look at all processes serves every instance that ended meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bellwether_core::id::InstanceId;
use tokio::sync::Notify;

use super::{Shared, family};
use crate::linux::{self, Signal, cgroup::Groups, proc};

/// Ends within this time share a look.
const GATHER: Duration = Duration::from_millis(20);
/// A control group that still has a dying process in it is tried again after this.
const AGAIN: Duration = Duration::from_millis(100);
const TRIES_MAX: u32 = 100;
/// What was killed is gone within this, unless the kernel holds it.
const GONE_MAX: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Sweeper {
    due: Mutex<Due>,
    wake: Notify,
}

#[derive(Default)]
struct Due {
    /// Those to clear up after, with the tries so far.
    ended: BTreeMap<InstanceId, (Groups, u32)>,
    /// Everything marked that does not belong to a living instance.
    all: bool,
}

impl Sweeper {
    pub(super) fn ended(&self, instance: InstanceId, groups: Groups) {
        self.due().ended.insert(instance, (groups, 0));
        self.wake.notify_one();
    }

    /// Looks once more now, for a driver that is about to go.
    pub(super) async fn finish(&self, shared: &Arc<Shared>) {
        self.due().all = true;
        sweep(shared).await;
    }

    fn due(&self) -> std::sync::MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends what an earlier driver started and did not live to record, and returns when it is gone: its instance is about to
/// be started once more, and would find its port taken.
pub(super) fn unrecorded(shared: &Shared) {
    shared.sweeper.due().all = true;
    let mut killed = look(shared);
    let deadline = Instant::now() + GONE_MAX;
    loop {
        killed.retain(|was| proc::stat(was.pid).is_ok_and(|is| is.started_ticks == was.started_ticks && !is.is_dead()));
        if killed.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            let pids: Vec<u32> = killed.iter().map(|stat| stat.pid).collect();
            return tracing::error!(?pids, "processes of instances that were never recorded do not end");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        tokio::select! {
            () = shared.detached.cancelled() => return,
            () = shared.sweeper.wake.notified() => {}
        }
        tokio::time::sleep(GATHER).await;
        sweep(&shared).await;
        if !shared.sweeper.due().ended.is_empty() {
            tokio::time::sleep(AGAIN).await;
            shared.sweeper.wake.notify_one();
        }
    }
}

async fn sweep(shared: &Arc<Shared>) {
    let worker = shared.clone();
    let looked = tokio::task::spawn_blocking(move || drop(look(&worker)));
    if let Err(error) = looked.await {
        tracing::error!(%error, "clearing up after ended instances failed");
    }
}

/// Returns what it killed.
fn look(shared: &Shared) -> Vec<proc::Stat> {
    let mut killed = Vec::new();
    let mut due = std::mem::take(&mut *shared.sweeper.due());
    // Read after the list was taken: an instance that starts from here on is not on it.
    let living: BTreeSet<InstanceId> = shared.registry().instances().collect();
    let condemned =
        |instance: InstanceId| !living.contains(&instance) && (due.all || due.ended.contains_key(&instance));
    match proc::all() {
        Ok(stats) => {
            let me = std::process::id();
            for stat in stats.into_iter().filter(|stat| !stat.is_dead() && stat.pid != me) {
                let Some(instance) = family::marked(stat.pid, &shared.launcher.owner).filter(|i| condemned(*i)) else {
                    continue;
                };
                tracing::info!(%instance, pid = stat.pid, "ends a process that outlived its instance");
                if let Err(error) = linux::kill_exact(stat.pid, stat.started_ticks, Signal::KILL) {
                    tracing::error!(%instance, pid = stat.pid, %error, "cannot end it");
                }
                killed.push(stat);
            }
        }
        Err(error) => tracing::error!(%error, "cannot look for processes that outlived their instance"),
    }
    due.ended.retain(|instance, (groups, tries)| {
        *tries += 1;
        if groups.remove() {
            return false;
        }
        if *tries >= TRIES_MAX {
            tracing::warn!(%instance, "its control group cannot be removed");
        }
        *tries < TRIES_MAX
    });
    let mut later = shared.sweeper.due();
    for (instance, left) in due.ended {
        later.ended.entry(instance).or_insert(left);
    }
    killed
}
