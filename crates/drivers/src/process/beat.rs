//! The steady beat: measures all running instances together, ends those above a limit that only we watch,
//! cuts long logs, and reaps orphans. It has a thread of the blocking pool to itself while it works, so that
//! ends of instances are seen meanwhile.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    sync::Arc,
    time::Duration,
};

use bellwether_core::{
    id::InstanceId,
    port::driver::{DriverEvent, HostUsage, Usage},
};
use tokio::{
    sync::{mpsc::error::TrySendError, oneshot},
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    Shared, family,
    instance::{Ask, Order},
    registry::Seen,
};
use crate::{
    linux::{
        self,
        proc::{self, Machine, Stat},
    },
    logs,
};

/// Remembers from beat to beat what differences need.
pub(super) struct Measurer {
    machine: Machine,
    /// The most that was seen of each: CPU time never goes back, even if a child's was lost with it.
    cpu_micros: BTreeMap<InstanceId, u64>,
    /// Dead children of this process that were not reaped at the last beat.
    dead: HashSet<(u32, u64)>,
    tidied: Option<Instant>,
}

/// How often what ended long ago is looked for.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// What one beat found.
struct Found {
    usage: Vec<Usage>,
    host: HostUsage,
    over_limit: Vec<InstanceId>,
}

pub(super) async fn run(shared: Arc<Shared>, mut measurer: Measurer) {
    let mut beat = interval_at(Instant::now() + shared.beat, shared.beat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.detached.cancelled() => return,
            _ = beat.tick() => {}
        }
        let started = Instant::now();
        let worker = shared.clone();
        let measured = tokio::task::spawn_blocking(move || {
            let found = measurer.measure(&worker);
            (measurer, found)
        });
        let found;
        (measurer, found) = match measured.await {
            Ok(measured) => measured,
            Err(error) => return tracing::error!(%error, "usage is no longer measured"),
        };
        match found {
            Ok(found) => publish(&shared, found, started.elapsed()),
            Err(error) => tracing::warn!(%error, "cannot measure this beat"),
        }
    }
}

fn publish(shared: &Shared, found: Found, took: Duration) {
    tracing::debug!(instances = found.usage.len(), took_ms = took.as_millis(), "measured");
    for instance in found.over_limit {
        tracing::warn!(%instance, "uses more memory than its limit");
        let (tell, _told) = oneshot::channel();
        shared.registry().urge(instance, Order { generation: None, ask: Ask::EndForMemory, tell });
    }
    if let Err(TrySendError::Full(_)) =
        shared.events.try_send(DriverEvent::Usage { sample: found.usage, host: found.host })
    {
        tracing::warn!("events are not read: this beat is dropped");
    }
}

impl Measurer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { machine: proc::machine()?, cpu_micros: BTreeMap::new(), dead: HashSet::new(), tidied: None })
    }

    fn measure(&mut self, shared: &Shared) -> io::Result<Found> {
        if self.tidied.is_none_or(|at| at.elapsed() >= TIDY_EVERY) {
            self.tidied = Some(Instant::now());
            shared.tidy();
        }
        let running: Vec<Seen> = shared.registry().running().cloned().collect();
        let stats = proc::all()?;
        let leaders: HashMap<u32, InstanceId> =
            running.iter().map(|seen| (seen.observed.pid, seen.observed.instance)).collect();
        self.reap_orphans(&stats, &leaders);

        let families = family::members(&stats, &leaders, &shared.launcher.owner);
        let mut usage = Vec::with_capacity(running.len());
        let mut over_limit = Vec::new();
        for Seen { observed, watch_bytes } in &running {
            let instance = observed.instance;
            // Ended since it was listed.
            let Some(family) = families.get(&instance) else { continue };
            // A process that ended since has no memory any more.
            let memory_bytes = family.iter().filter_map(|stat| proc::pss_bytes(stat.pid).ok()).sum();
            let cpu_micros = self.cpu_micros.entry(instance).or_default();
            *cpu_micros = (*cpu_micros).max(family.iter().map(Stat::cpu_micros).sum());
            usage.push(Usage { instance, memory_bytes, cpu_micros: *cpu_micros });
            if watch_bytes.is_some_and(|limit| memory_bytes > limit) {
                over_limit.push(instance);
            }
            let path = shared.launcher.log(instance, observed.agent.as_str());
            if let Err(error) = logs::bound(&path, shared.log_max_bytes) {
                tracing::warn!(%instance, %error, "cannot cut its log");
            }
        }
        self.cpu_micros.retain(|instance, _| families.contains_key(instance));
        Ok(Found { usage, host: self.host()?, over_limit })
    }

    fn host(&mut self) -> io::Result<HostUsage> {
        let machine = proc::machine()?;
        let total = machine.cpu_total_ticks.saturating_sub(self.machine.cpu_total_ticks);
        let busy = machine.cpu_busy_ticks.saturating_sub(self.machine.cpu_busy_ticks);
        self.machine = machine;
        #[expect(clippy::cast_precision_loss, reason = "ticks of one beat")]
        let cpu_busy = if total == 0 { 0.0 } else { (busy as f64 / total as f64).min(1.0) };
        Ok(HostUsage {
            memory_total_bytes: machine.memory_total_bytes,
            memory_available_bytes: machine.memory_available_bytes,
            cpus: machine.cpus,
            cpu_busy,
        })
    }

    /// As child subreaper this process inherits grandchildren. Direct children that are not instances share its
    /// process group and are left to whoever started them. Only the dead of two beats are reaped: the first
    /// process of an instance is its own task's to reap, and that takes no such time.
    fn reap_orphans(&mut self, stats: &[Stat], leaders: &HashMap<u32, InstanceId>) {
        let me = std::process::id();
        let own_group = stats.iter().find(|stat| stat.pid == me).map(|stat| stat.group);
        let dead: HashSet<(u32, u64)> = stats
            .iter()
            .filter(|stat| stat.parent == me && stat.is_zombie() && Some(stat.group) != own_group)
            .filter(|stat| !leaders.contains_key(&stat.pid))
            .map(|stat| (stat.pid, stat.started_ticks))
            .collect();
        for (pid, _) in dead.intersection(&self.dead) {
            if let Err(error) = linux::reap_orphan(*pid) {
                tracing::warn!(pid, %error, "cannot reap an orphan");
            }
        }
        self.dead = dead;
    }
}
