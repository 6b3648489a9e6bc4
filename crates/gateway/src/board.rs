//! What the writer publishes and every request reads.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
};

use arc_swap::ArcSwap;
use bellwether_core::{
    id::{ModelName, Side},
    port::gateway::GatewayEvent,
    spec::Spec,
};
use tokio::sync::{mpsc, watch};

use crate::{
    clock::Clock,
    observe::{Key, Recorder},
    table::Table,
    waits::Waits,
};

pub(crate) struct Board {
    pub(crate) table: ArcSwap<Table>,
    /// Moves on with each table, after it is there to be read.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) events: mpsc::UnboundedSender<GatewayEvent>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) clock: Clock,
    /// Tasks that wait for a lease.
    pub(crate) queued: AtomicU64,
    /// Of the fleet file, to count what no instance answered.
    models: HashMap<String, ModelName>,
}

impl Board {
    pub(crate) fn new(spec: &Spec, clock: Clock, events: mpsc::UnboundedSender<GatewayEvent>) -> Self {
        Self {
            table: ArcSwap::default(),
            changed: watch::Sender::new(0),
            events,
            recorder: Arc::default(),
            waits: Arc::default(),
            clock,
            queued: AtomicU64::new(0),
            models: spec
                .agents
                .iter()
                .map(|agent| (agent.name.as_str().to_owned(), agent.revision.model.clone()))
                .collect(),
        }
    }

    pub(crate) fn publish(&self, table: Table) {
        self.table.store(Arc::new(table));
        self.changed.send_modify(|version| *version += 1);
    }

    /// Where a request is counted that no instance took.
    pub(crate) fn key_of_nobody(&self, agent: &str) -> Key {
        let model = self.models.get(agent).cloned().unwrap_or_else(|| ModelName::new(""));
        Key { agent: agent.into(), model, drawn: Side::Blue, served: Side::Blue }
    }

    /// Nobody listens only while the gateway stops.
    pub(crate) fn tell(&self, event: GatewayEvent) {
        drop(self.events.send(event));
    }
}
