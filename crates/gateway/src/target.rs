//! One instance as the data plane sees it: its card, the claims on it, what it holds and what it says of itself.

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
    time::{Millis, Nanos},
    traffic::{Claims, Released, Retired, Retirement},
};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::{observe::Key, work::Work};

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
    /// It said goodbye, and has not registered again.
    away: AtomicBool,
    /// The backend is being asked for a task for it.
    asked_for: AtomicBool,
    errands: AtomicU64,
    pub(crate) work: Work,
    heartbeat: Mutex<Option<Heartbeat>>,
    /// Openings of its own breaker, as it reported them last. None: not known, because it began before this process.
    reported_trips: Mutex<Option<u64>>,
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
            away: AtomicBool::new(false),
            asked_for: AtomicBool::new(false),
            errands: AtomicU64::new(0),
            work: Work::default(),
            heartbeat: Mutex::default(),
            reported_trips: Mutex::new(Some(0)),
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

    pub(crate) fn open(&self, generation: Generation, now: Nanos) {
        self.work.began(now);
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

    pub(crate) fn revoked(&self) -> u64 {
        self.revoked.load(Ordering::Relaxed)
    }

    /// Uses of it at the moment.
    pub(crate) fn held(&self) -> u32 {
        self.claims.view().held
    }

    /// A task is brought to it until the guard is dropped.
    pub(crate) fn errand(self: &Arc<Self>) -> UnderWay {
        self.errands.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    pub(crate) fn has_errands(&self) -> bool {
        self.errands.load(Ordering::Relaxed) > 0
    }

    /// True the first time.
    pub(crate) fn polls_first(&self) -> bool {
        !self.polled.load(Ordering::Relaxed) && !self.polled.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Whoever gets true asks the backend for a task, and nobody else until [`Self::asked`].
    pub(crate) fn asks(&self) -> bool {
        !self.asked_for.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn asked(&self) {
        self.asked_for.store(false, Ordering::Relaxed);
    }

    /// It ran before this process did: what it has polled and reported is partly unknown.
    pub(crate) fn began_before(&self, holds_leases: bool) {
        *lock(&self.reported_trips) = None;
        // Whoever holds a lease has asked for it.
        self.polled.store(holds_leases, Ordering::Relaxed);
    }

    /// Returns how often its own breaker has opened since the heartbeat before.
    pub(crate) fn beat(&self, fields: serde_json::Map<String, serde_json::Value>) -> u64 {
        let opened = match trips(&fields) {
            Some(trips) => {
                let before = lock(&self.reported_trips).replace(trips);
                before.map_or(0, |before| trips.saturating_sub(before))
            }
            None => 0,
        };
        *lock(&self.heartbeat) = Some(Heartbeat { at: Instant::now(), fields });
        opened
    }

    /// How long there has been no sign of its main loop. One that never asked for a task has none.
    pub(crate) fn quiet(&self, now: Nanos) -> Millis {
        if self.polled.load(Ordering::Relaxed) { self.work.quiet(now) } else { Millis::ZERO }
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
            tried: false,
            heartbeat_age: self
                .heartbeat()
                .map(|it| Millis(u64::try_from(it.at.elapsed().as_millis()).unwrap_or(u64::MAX))),
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

/// One errand to a target.
pub(crate) struct UnderWay(Arc<Target>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.errands.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// In the first dialect beside the other figures, in the second among its metrics.
fn trips(heartbeat: &serde_json::Map<String, serde_json::Value>) -> Option<u64> {
    const FIELD: &str = "circuit_breaker_trips";
    let value = heartbeat.get(FIELD).or_else(|| heartbeat.get("metrics")?.get(FIELD))?;
    // Some languages write every number with a point.
    value.as_u64().or_else(|| value.as_f64().filter(|trips| *trips >= 0.0).map(|trips| trips as u64))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bellwether_core::id::{InstanceId, InstanceToken, ModelName};
    use serde_json::{Value, json};
    use tokio::sync::mpsc;

    use super::*;

    fn target() -> Target {
        let card = InstanceCard {
            instance: InstanceId(1),
            agent: "a".into(),
            agent_type: "worker".into(),
            model: ModelName::new("m"),
            side: Side::Green,
            token: InstanceToken::new("token"),
            address: Ipv4Addr::LOCALHOST,
            upstream: None,
            delivery: bellwether_core::spec::Delivery::Pull,
        };
        Target::new(card, mpsc::unbounded_channel().0)
    }

    fn beat(target: &Target, fields: Value) -> u64 {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        target.beat(fields)
    }

    #[test]
    fn openings_that_an_agent_reports_are_counted_by_their_increase() {
        let target = target();
        let beats = [
            json!({"circuit_breaker_trips": 1}),
            json!({"circuit_breaker_trips": 1}),
            json!({"status": "active"}),
            json!({"circuit_breaker_trips": 4.0}),
            json!({"circuit_breaker_trips": 0}),
            json!({"status": "online", "metrics": {"circuit_breaker_trips": 2}}),
            json!({"circuit_breaker_trips": "many"}),
            json!({"circuit_breaker_trips": -1}),
        ];
        let opened = beats.map(|fields| beat(&target, fields));
        assert_eq!(opened, [1, 0, 0, 3, 0, 2, 0, 0], "begins at nought; a counter that was reset is no increase");
    }

    #[test]
    fn what_was_reported_to_the_gateway_before_is_not_counted_again() {
        let target = target();
        target.began_before(false);
        assert_eq!(beat(&target, json!({"circuit_breaker_trips": 7})), 0);
        assert_eq!(beat(&target, json!({"circuit_breaker_trips": 8})), 1);
    }

    #[test]
    fn only_what_has_a_loop_is_quiet() {
        let target = target();
        target.open(Generation(1), Nanos(0));
        let later = Nanos(0) + Millis::from_secs(5);
        assert_eq!(target.quiet(later), Millis::ZERO);
        assert!(target.polls_first());
        assert_eq!(target.quiet(later), Millis::from_secs(5));
    }
}
