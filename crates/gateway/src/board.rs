//! What the writer publishes and every request reads.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64},
    },
};

use arc_swap::ArcSwap;
use bellwether_core::{
    id::{AgentName, ModelName, Side},
    inference::BreakerSettings,
    observation::Resumed,
    port::gateway::GatewayEvent,
    spec::{ResultRule, Spec},
};
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    breakers::Breakers,
    clock::Clock,
    heir::legacy::Legacy,
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
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) clock: Clock,
    /// Tasks that wait for a lease.
    pub(crate) queued: AtomicU64,
    /// What a gateway before this one still has in flight.
    pub(crate) legacy: Legacy,
    pub(crate) pushes_open: AtomicU32,
    /// Of a gateway before this one that was killed; for the first record.
    resumed: Mutex<Option<Resumed>>,
    /// There are letters for the backend.
    pub(crate) posted: Notify,
    /// Of the fleet file, to count what no instance answered.
    models: HashMap<String, ModelName>,
    /// Of the fleet file: what a result must carry.
    rules: HashMap<AgentName, ResultRule>,
    any_result: ResultRule,
}

impl Board {
    pub(crate) fn new(spec: &Spec, clock: Clock, events: mpsc::UnboundedSender<GatewayEvent>) -> Self {
        let recorder: Arc<Recorder> = Arc::default();
        Self {
            table: ArcSwap::default(),
            changed: watch::Sender::new(0),
            events,
            waits: Arc::default(),
            breakers: Breakers::new(BreakerSettings::default(), clock, recorder.clone()),
            recorder,
            clock,
            queued: AtomicU64::new(0),
            legacy: Legacy::default(),
            pushes_open: AtomicU32::new(0),
            resumed: Mutex::default(),
            posted: Notify::new(),
            models: spec
                .agents
                .iter()
                .map(|agent| (agent.name.as_str().to_owned(), agent.revision.model.clone()))
                .collect(),
            rules: spec.agents.iter().map(|agent| (agent.name.clone(), agent.result.clone())).collect(),
            any_result: ResultRule::default(),
        }
    }

    pub(crate) fn resume(&self, resumed: Resumed) {
        *self.resumed.lock().unwrap_or_else(PoisonError::into_inner) = Some(resumed);
    }

    pub(crate) fn take_resumed(&self) -> Option<Resumed> {
        self.resumed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// An agent that the fleet file does not name may answer what it likes, if it is something.
    pub(crate) fn result_rule(&self, agent: &AgentName) -> &ResultRule {
        self.rules.get(agent).unwrap_or(&self.any_result)
    }

    /// The agent's green counts as blue from here on, with what is remembered of it.
    pub(crate) fn settle(&self, agent: &AgentName) {
        self.recorder.settle(agent);
        self.breakers.settle(agent);
    }

    /// What is remembered of this side of the agent was somebody else's.
    pub(crate) fn forget(&self, agent: &AgentName, side: Side) {
        self.recorder.forget(agent, side);
        self.breakers.forget(agent, side);
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
