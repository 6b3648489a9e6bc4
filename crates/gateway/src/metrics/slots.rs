//! Slots, the queue in front of them, and the model servers behind.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// How it stands at this moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    pub(crate) slots: u32,
    pub(crate) busy: u32,
    /// Of which it is not known whether the model server is done with what held them. They are busy.
    pub(crate) doubtful: u32,
    pub(crate) waiting: u32,
    /// The longest that a call of the default class may have to wait, in seconds.
    pub(crate) wait_max: f64,
    /// URL, and whether calls are sent there.
    pub(crate) servers: Vec<(String, bool)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    server: String,
}

pub(super) struct SlotMetrics {
    slots: Gauge,
    busy: Gauge,
    doubtful: Gauge,
    waiting: Gauge,
    wait_max: Gauge<f64, AtomicU64>,
    up: Family<Server, Gauge>,
    switches: Counter,
    reloads: Counter,
}

impl SlotMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let new = Self {
            slots: Gauge::default(),
            busy: Gauge::default(),
            doubtful: Gauge::default(),
            waiting: Gauge::default(),
            wait_max: Gauge::default(),
            up: Family::default(),
            switches: Counter::default(),
            reloads: Counter::default(),
        };
        registry.register("slots", "Calls that may be in flight at the model servers", new.slots.clone());
        registry.register("slots_busy", "Slots that are held", new.busy.clone());
        registry.register(
            "slots_doubtful",
            "Held slots whose call was given up, until a generation shows that they are free",
            new.doubtful.clone(),
        );
        registry.register("model_calls_waiting", "Calls that wait for a slot", new.waiting.clone());
        registry.register_with_unit(
            "model_wait_max",
            "The longest that a call of the default class may have to wait now (docs/model-calls.md)",
            Unit::Seconds,
            new.wait_max.clone(),
        );
        registry.register(
            "model_server_up",
            "1 while calls are sent to the model server, 0 while it is given up",
            new.up.clone(),
        );
        registry.register("model_switches", "Loads that the gateway asked for", new.switches.clone());
        registry.register(
            "model_reloads",
            "Loads of a model that was loaded before with other options, such as another context size",
            new.reloads.clone(),
        );
        new
    }

    pub(super) fn reloaded(&self) {
        self.reloads.inc();
    }

    pub(super) fn switched(&self, times: u32) {
        self.switches.inc_by(times.into());
    }

    pub(super) fn set(&self, slots: &Slots) {
        self.slots.set(slots.slots.into());
        self.busy.set(slots.busy.into());
        self.doubtful.set(slots.doubtful.into());
        self.waiting.set(slots.waiting.into());
        self.wait_max.set(slots.wait_max);
        for (server, up) in &slots.servers {
            self.up.get_or_create(&Server { server: server.clone() }).set((*up).into());
        }
    }
}
