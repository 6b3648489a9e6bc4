//! What the API reads without asking the reactor: the last published view and the last seconds.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bellwether_core::{
    histogram::Histogram,
    id::{AgentName, InstanceId, RolloutId, Side},
    observation::{Second, Signs},
    rollout::{Controller, ControllerView, Rollout},
    spec::Spec,
    time::Now,
    watch::HealthCheck,
};
use tokio::sync::mpsc;

use super::types::{HealthStatus, Live, SideLive, Status};
use crate::{edits, evidence::Evidence, measured::Seen, reactor::Input, usage::UsageLog};

/// Seconds that the live figures cover.
const LIVE_SECONDS: usize = 10;

pub(crate) struct Shared {
    pub(crate) spec: Arc<Spec>,
    pub(crate) state: PathBuf,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) evidence: Evidence,
    published: ArcSwap<Published>,
    seconds: Mutex<VecDeque<Second>>,
    health: Mutex<BTreeMap<InstanceId, HealthStatus>>,
}

/// One consistent picture.
pub(crate) struct Published {
    pub(crate) machine: Controller,
    pub(crate) at: Now,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_peak_bytes: u64,
    pub(crate) seen: Seen,
    /// Why nothing can be recorded.
    pub(crate) disk: Option<String>,
}

impl Shared {
    pub(crate) fn new(spec: Arc<Spec>, state: PathBuf, inputs: mpsc::Sender<Input>, evidence: Evidence) -> Self {
        let nothing = Published {
            machine: Controller::default(),
            at: Now::default(),
            memory_bytes: 0,
            memory_peak_bytes: 0,
            seen: Seen::default(),
            disk: None,
        };
        Self {
            spec,
            state,
            inputs,
            evidence,
            published: ArcSwap::from_pointee(nothing),
            seconds: Mutex::default(),
            health: Mutex::default(),
        }
    }

    pub(crate) fn publish(&self, machine: &Controller, at: Now, usage: &UsageLog, disk: Option<&str>) {
        self.published.store(Arc::new(Published {
            machine: machine.clone(),
            at,
            memory_bytes: usage.memory_bytes,
            memory_peak_bytes: usage.memory_peak_bytes,
            seen: usage.seen.clone(),
            disk: disk.map(str::to_owned),
        }));
    }

    pub(crate) fn live(&self, second: Second) {
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        seconds.push_back(second);
        while seconds.len() > LIVE_SECONDS {
            seconds.pop_front();
        }
    }

    /// The last check of an instance.
    pub(crate) fn checked(&self, check: &HealthCheck) {
        let status = HealthStatus { at: check.at, fault: check.fault.clone() };
        self.health.lock().unwrap_or_else(PoisonError::into_inner).insert(check.instance, status);
    }

    /// Of instances that are asked no more nothing is kept.
    pub(crate) fn keep_health(&self, asked: impl Fn(InstanceId) -> bool) {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).retain(|&instance, _| asked(instance));
    }

    pub(super) fn health(&self) -> BTreeMap<InstanceId, HealthStatus> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the last second showed of each agent and serving side.
    pub(super) fn signs(&self) -> BTreeMap<(AgentName, Side), Signs> {
        let seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut signs: BTreeMap<(AgentName, Side), Signs> = BTreeMap::new();
        for cell in seconds.back().into_iter().flat_map(|second| &second.cells) {
            let of_side = signs.entry((cell.agent.clone(), cell.served)).or_default();
            of_side.quiet_ms = of_side.quiet_ms.max(cell.signs.quiet_ms);
            of_side.stalled_ms = of_side.stalled_ms.max(cell.signs.stalled_ms);
        }
        signs
    }

    pub(crate) fn published(&self) -> arc_swap::Guard<Arc<Published>> {
        self.published.load()
    }

    pub(crate) fn rollout(&self, id: RolloutId) -> Option<Rollout> {
        self.published().machine.rollouts().iter().find(|rollout| rollout.id == id).cloned()
    }

    pub(crate) fn status(&self) -> Status {
        let published = self.published();
        let controller: ControllerView = published.machine.view(published.at);
        Status {
            fleet: self.spec.fleet.clone(),
            controller,
            live: self.live_figures(&published),
            disk: published.disk.clone(),
            edit: edits::noted(&self.state),
        }
    }

    fn live_figures(&self, published: &Published) -> Live {
        let seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        let last = seconds.back();
        Live {
            seconds: seconds.len() as u64,
            blue: side(&seconds, Side::Blue),
            green: side(&seconds, Side::Green),
            slots: self.spec.ollama.slots(),
            slots_busy: last.map_or(0, |s| s.slots_peak),
            calls_waiting: last.map_or(0, |s| s.calls_waiting),
            tasks_queued: last.map_or(0, |s| s.tasks_queued),
            memory_bytes: published.memory_bytes,
            memory_peak_bytes: published.memory_peak_bytes,
            last_second: last.map_or(0, |s| s.number),
        }
    }
}

fn side(seconds: &VecDeque<Second>, side: Side) -> SideLive {
    let mut times = Histogram::default();
    let (mut completed, mut failed) = (0_u64, 0_u64);
    for cell in seconds.iter().flat_map(|second| &second.cells).filter(|cell| cell.served == side) {
        completed += cell.tasks.completed;
        failed += cell.tasks.failed + cell.tasks.lost_leases;
        times.merge(&cell.tasks.lease_time);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    let tasks_per_second = completed as f64 / seconds.len().max(1) as f64;
    let millis = |q| times.quantile(q).map(|micros| micros / 1e3);
    SideLive { tasks_per_second, failed, p50_ms: millis(0.5), p95_ms: millis(0.95) }
}
