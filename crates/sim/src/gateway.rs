//! The gateway's process around the real traffic machine: intents in, answers and events out, and a store
//! that it goes on from when it is killed.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_core::{
    id::{AgentName, AgentType, Generation, InstanceId, InstanceToken, ModelName, Side},
    port::gateway::{GatewayView, InstanceCard, InstanceView, Move},
    spec::{Spec, TaskPolicy},
    time::{Millis, Now},
    traffic::{Agents, Archived, Change, Snapshot, TaskId, Traffic},
};

pub(crate) struct Gateway {
    pub(crate) traffic: Traffic,
    pub(crate) up: bool,
    /// Counts processes.
    pub(crate) life: u64,
    /// Counts changes of whom it knows and who has the traffic.
    pub(crate) stirred: u64,
    /// When the machine asked to be woken.
    pub(crate) wakes_at: Option<bellwether_core::time::Nanos>,
    store: Snapshot,
    pub(crate) archive: BTreeMap<TaskId, Archived>,
    /// Which have asked for a task. Not stored: whoever lives asks again.
    polled: BTreeSet<InstanceId>,
    /// Retired and not yet reported empty, with the leases that were taken from them.
    draining: BTreeMap<InstanceId, u64>,
    policy: TaskPolicy,
    agents: Agents,
    types: BTreeMap<AgentName, (AgentType, ModelName)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Intent {
    Enrol { cards: Vec<(InstanceId, AgentName, Side)> },
    CutOver { generation: Generation, moves: Vec<Move>, drain: Millis, revoke: bool },
    Lost { instance: InstanceId, asked: bool },
    Retire { instances: Vec<InstanceId> },
    Settle { instances: Vec<InstanceId> },
    TryOut { instance: InstanceId },
}

impl Gateway {
    pub(crate) fn new(spec: &Spec) -> Self {
        let agents: Agents = spec.agents.iter().map(|a| (a.name.clone(), a.agent_type.clone())).collect();
        let types = spec.agents.iter().map(|a| (a.name.clone(), (a.agent_type.clone(), a.revision.model.clone())));
        Self {
            traffic: Traffic::new(spec.tasks.clone(), agents.clone()),
            up: true,
            life: 0,
            stirred: 0,
            wakes_at: None,
            store: Snapshot::default(),
            archive: BTreeMap::new(),
            polled: BTreeSet::new(),
            draining: BTreeMap::new(),
            policy: spec.tasks.clone(),
            agents,
            types: types.collect(),
        }
    }

    pub(crate) fn card(&self, instance: InstanceId, agent: &AgentName, side: Side) -> InstanceCard {
        let (agent_type, model) =
            self.types.get(agent).cloned().unwrap_or_else(|| ("none".into(), ModelName::new("none")));
        InstanceCard {
            instance,
            agent: agent.clone(),
            agent_type,
            model,
            side,
            token: InstanceToken::new(instance.to_string()),
            address: instance.address(),
            upstream: None,
            delivery: bellwether_core::spec::Delivery::Pull,
        }
    }

    pub(crate) fn model_of(&self, agent: &AgentName) -> Option<&ModelName> {
        self.types.get(agent).map(|(_, model)| model)
    }

    /// The process is gone, and with it what it had not stored.
    pub(crate) fn die(&mut self, now: Now) {
        self.up = false;
        self.life += 1;
        self.wakes_at = None;
        self.polled.clear();
        self.traffic = Traffic::restore(self.policy.clone(), self.agents.clone(), self.store.clone(), now);
    }

    /// Another one goes on from the store.
    pub(crate) fn restart(&mut self, now: Now) {
        self.traffic = Traffic::restore(self.policy.clone(), self.agents.clone(), self.store.clone(), now);
        self.up = true;
    }

    /// Stored before anything acts on it.
    pub(crate) fn store(&mut self, changes: &[Change]) {
        for change in changes {
            self.store.apply(change);
            let stirs = matches!(
                change,
                Change::Enrolled { .. } | Change::Forgotten { .. } | Change::Generation { .. } | Change::Routed { .. }
            );
            self.stirred += u64::from(stirs);
            match change {
                Change::Finished { task, by, .. } => {
                    let completed_by = by.as_ref().map(|(_, lease)| lease.instance);
                    self.archive.insert(task.id.clone(), Archived { completed_by });
                }
                Change::Retired { instance, .. } => {
                    self.draining.insert(*instance, 0);
                }
                Change::Opened { instance, .. } | Change::Forgotten { instance, .. } | Change::Gone { instance } => {
                    self.draining.remove(instance);
                }
                Change::LeaseLost { lease, .. } => {
                    if let Some(revoked) = self.draining.get_mut(&lease.instance) {
                        *revoked += 1;
                    }
                }
                Change::Enrolled { .. }
                | Change::Settled { .. }
                | Change::Places { .. }
                | Change::Generation { .. }
                | Change::Routed { .. }
                | Change::DrainOver { .. }
                | Change::FellBack { .. }
                | Change::Queued { .. }
                | Change::Retried { .. }
                | Change::Checkpoint { .. }
                | Change::Revived { .. }
                | Change::Leased { .. } => {}
            }
        }
    }

    /// Retired instances that hold nothing any more and have not been reported.
    pub(crate) fn take_empty(&mut self) -> Vec<(InstanceId, u64)> {
        let empty: Vec<(InstanceId, u64)> = self
            .draining
            .iter()
            .filter(|(instance, _)| self.traffic.held_by(**instance).is_empty())
            .map(|(&instance, &revoked)| (instance, revoked))
            .collect();
        for (instance, _) in &empty {
            self.draining.remove(instance);
        }
        empty
    }

    /// It was retired, works on something, and its limit has not passed.
    pub(crate) fn drains(&self, instance: InstanceId) -> bool {
        let limit = self.store.instances.get(&instance).and_then(|known| known.drain_limit);
        limit.is_some() && !self.traffic.held_by(instance).is_empty()
    }

    /// True for the first request since this process started.
    pub(crate) fn polled(&mut self, instance: InstanceId) -> bool {
        self.traffic.instances().any(|(&known, _)| known == instance) && self.polled.insert(instance)
    }

    pub(crate) fn view(&self, last_second: u64) -> GatewayView {
        let instances = self.traffic.instances().map(|(&instance, enrolled)| InstanceView {
            instance,
            agent: enrolled.card.agent.clone(),
            polled: self.polled.contains(&instance),
            tried: self.traffic.tried_out(instance),
            heartbeat_age: None,
            quiesced: self.traffic.fence_of(instance).is_none(),
            held: self.traffic.held_by(instance).len() as u64,
        });
        GatewayView {
            generation: self.traffic.generation(),
            routes: self.traffic.route_views(),
            instances: instances.collect(),
            last_second,
        }
    }
}
