//! The breakers, under the names that resilience4j's metrics have.

use std::sync::atomic::AtomicU64;

use bellwether_core::inference::BreakerState;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::breakers::Shown;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    name: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    name: String,
    kind: &'static str,
}

pub(super) struct BreakerMetrics {
    state: Family<InState, Gauge>,
    failure_rate: Family<Name, Gauge<f64, AtomicU64>>,
    buffered: Family<OfKind, Gauge>,
    calls: Family<OfKind, Counter>,
    not_permitted: Family<OfKind, Counter>,
}

impl BreakerMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let new = Self {
            state: Family::default(),
            failure_rate: Family::default(),
            buffered: Family::default(),
            calls: Family::default(),
            not_permitted: Family::default(),
        };
        registry.register("state", "1 for the state that the breaker is in", new.state.clone());
        registry.register(
            "failure_rate",
            "Failures in the window, in percent; -1 while there are fewer calls than the minimum",
            new.failure_rate.clone(),
        );
        registry.register("buffered_calls", "Calls in the window", new.buffered.clone());
        registry.register("calls", "Calls that ended", new.calls.clone());
        registry.register("not_permitted_calls", "Calls that were refused", new.not_permitted.clone());
        new
    }

    pub(super) fn set(&self, breakers: &[Shown]) {
        // Those that are gone are shown no more.
        self.state.clear();
        self.failure_rate.clear();
        self.buffered.clear();
        for Shown { name, state: now, figures } in breakers {
            for state in BreakerState::ALL {
                let in_state = InState { name: name.clone(), state: state.as_str() };
                self.state.get_or_create(&in_state).set((state == *now).into());
            }
            let rate = figures.failure_rate.map_or(-1.0, |rate| rate * 100.0);
            self.failure_rate.get_or_create(&Name { name: name.clone() }).set(rate);
            let of = |kind| OfKind { name: name.clone(), kind };
            let failed = figures.buffered_failed;
            for (kind, count) in [("failed", failed), ("successful", figures.buffered - failed)] {
                self.buffered.get_or_create(&of(kind)).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            let counts = [("successful", figures.successful), ("failed", figures.failed), ("ignored", figures.ignored)];
            for (kind, count) in counts {
                raise(&self.calls.get_or_create(&of(kind)), count);
            }
            raise(&self.not_permitted.get_or_create(&of("not_permitted")), figures.not_permitted);
        }
    }
}

/// A counter never falls: one that began anew is told once it has passed what was told before.
fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}
