//! One instance as the data plane sees it: its card, the claims on it, and what it holds.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use bellwether_core::{
    id::{Generation, Side},
    port::gateway::{GatewayEvent, InstanceCard, InstanceView},
    traffic::{Claims, Released, Retired, Retirement, TaskId},
};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::observe::Key;

pub(crate) struct Target {
    pub(crate) card: InstanceCard,
    side: Mutex<Side>,
    claims: Claims,
    events: UnboundedSender<GatewayEvent>,
    /// Ends the streams and calls that are under way. Those that begin after a cut have a fresh one.
    cut: Mutex<CancellationToken>,
    /// Leases and streams that were taken from it since it was last retired.
    revoked: AtomicU64,
    polled: AtomicBool,
    leases: Mutex<Vec<TaskId>>,
    heartbeat: Mutex<Option<Heartbeat>>,
}

/// What the instance last said of itself. Shown, never judged by (R90).
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    pub(crate) at: Instant,
    pub(crate) fields: serde_json::Map<String, serde_json::Value>,
}

/// One use of a target. While there is one, the target is not empty.
pub(crate) struct Claim(Arc<Target>);

impl Target {
    pub(crate) fn new(card: InstanceCard, events: UnboundedSender<GatewayEvent>) -> Self {
        Self {
            side: Mutex::new(card.side),
            card,
            claims: Claims::default(),
            events,
            cut: Mutex::default(),
            revoked: AtomicU64::new(0),
            polled: AtomicBool::new(false),
            leases: Mutex::default(),
            heartbeat: Mutex::default(),
        }
    }

    /// Blue or green at the moment: what was green is settled as blue when its rollout is committed.
    pub(crate) fn side(&self) -> Side {
        *lock(&self.side)
    }

    pub(crate) fn settle(&self) {
        *lock(&self.side) = Side::Blue;
    }

    /// A new use; fails once the target is retired.
    pub(crate) fn claim(self: &Arc<Self>) -> Result<Claim, Retired> {
        self.claims.try_claim().map(|()| Claim(self.clone()))
    }

    /// A use by the instance itself, retired or not.
    pub(crate) fn hold(self: &Arc<Self>) -> Claim {
        self.claims.hold();
        Claim(self.clone())
    }

    pub(crate) fn open(&self, generation: Generation) {
        self.revoked.store(0, Ordering::Relaxed);
        self.claims.open(generation);
    }

    pub(crate) fn retire(&self) {
        if self.claims.retire() == Retirement::QuiescedEmpty {
            self.tell_empty();
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.claims.view().retired
    }

    /// Ends what is in flight to and from the instance. What it begins in standby is left alone.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *lock(&self.cut)).cancel();
    }

    pub(crate) fn cut_token(&self) -> CancellationToken {
        lock(&self.cut).clone()
    }

    pub(crate) fn count_revoked(&self) {
        self.revoked.fetch_add(1, Ordering::Relaxed);
    }

    /// True the first time.
    pub(crate) fn polls_first(&self) -> bool {
        !self.polled.load(Ordering::Relaxed) && !self.polled.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn lease_began(&self, id: TaskId) {
        lock(&self.leases).push(id);
    }

    pub(crate) fn lease_ended(&self, id: &TaskId) {
        lock(&self.leases).retain(|held| held != id);
    }

    /// The task that a call of the instance works for: the one it names, if it holds that, else its only one.
    pub(crate) fn task_of_call(&self, named: Option<&str>) -> Option<TaskId> {
        let leases = lock(&self.leases);
        match (named, leases.as_slice()) {
            (Some(named), held) => held.iter().find(|id| id.as_str() == named).cloned(),
            (None, [only]) => Some(only.clone()),
            (None, _) => None,
        }
    }

    pub(crate) fn beat(&self, fields: serde_json::Map<String, serde_json::Value>) {
        *lock(&self.heartbeat) = Some(Heartbeat { at: Instant::now(), fields });
    }

    pub(crate) fn heartbeat(&self) -> Option<Heartbeat> {
        lock(&self.heartbeat).clone()
    }

    /// Where its own requests are counted.
    pub(crate) fn key(&self) -> Key {
        let side = self.side();
        Key { agent: self.card.agent.clone(), model: self.card.model.clone(), drawn: side, served: side }
    }

    pub(crate) fn view(&self) -> InstanceView {
        let claims = self.claims.view();
        InstanceView {
            instance: self.card.instance,
            agent: self.card.agent.clone(),
            polled: self.polled.load(Ordering::Relaxed),
            quiesced: claims.retired,
            held: u64::from(claims.held),
        }
    }

    fn release(&self) {
        if self.claims.release() == Released::Empty {
            self.tell_empty();
        }
    }

    fn tell_empty(&self) {
        let revoked = self.revoked.load(Ordering::Relaxed);
        // Nobody listens only while the gateway stops; the next one tells it by what it observes.
        drop(self.events.send(GatewayEvent::Empty { instance: self.card.instance, revoked }));
    }
}

impl Claim {
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.release();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
