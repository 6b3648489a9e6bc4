//! The route table that requests are looked up in. Immutable; a change is a new table.
//!
//! A table is looked at and a target claimed in two steps, so a claim can fail: the table was old. The writer
//! publishes the fresh table before it retires a target, so the next look finds the heir.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use bellwether_core::{id::InstanceId, port::gateway::GatewayEvent, traffic::Traffic};
use tokio::sync::mpsc::UnboundedSender;

use crate::target::{Claim, Target};

#[derive(Default)]
pub(crate) struct Table {
    /// Every agent of the fleet, with the instance that takes its requests.
    active: HashMap<String, Option<Arc<Target>>>,
    tokens: HashMap<String, Arc<Target>>,
    addresses: HashMap<Ipv4Addr, Arc<Target>>,
    instances: HashMap<InstanceId, Arc<Target>>,
    revoked: HashSet<String>,
}

/// What a token stands for.
pub(crate) enum Known<'a> {
    Instance(&'a Arc<Target>),
    /// Its instance was removed.
    Revoked,
    Not,
}

/// What an agent's name leads to.
pub(crate) enum Found {
    Claimed(Claim),
    /// No instance takes requests at the moment.
    NotReady,
    /// The active instance serves no HTTP.
    NoServer,
    UnknownAgent,
}

impl Table {
    /// Targets that were known before stay the same targets.
    pub(crate) fn of(
        traffic: &Traffic,
        before: &Self,
        revoked: HashSet<String>,
        events: &UnboundedSender<GatewayEvent>,
    ) -> Self {
        let target = |card: &bellwether_core::port::gateway::InstanceCard| match before.instances.get(&card.instance) {
            Some(known) => known.clone(),
            None => Arc::new(Target::new(card.clone(), events.clone())),
        };
        let instances: HashMap<InstanceId, Arc<Target>> =
            traffic.instances().map(|(&instance, known)| (instance, target(&known.card))).collect();
        let active = |agent| {
            let active = traffic.route(agent).active?;
            traffic.fence_of(active)?;
            instances.get(&active).cloned()
        };
        Self {
            active: traffic.agents().map(|agent| (agent.as_str().to_owned(), active(agent))).collect(),
            tokens: instances.values().map(|it| (it.card.token.as_str().to_owned(), it.clone())).collect(),
            addresses: instances.values().map(|it| (it.card.address, it.clone())).collect(),
            instances,
            revoked,
        }
    }

    pub(crate) fn find(&self, agent: &str) -> Found {
        match self.active.get(agent) {
            None => Found::UnknownAgent,
            Some(None) => Found::NotReady,
            Some(Some(target)) if target.card.upstream.is_none() => Found::NoServer,
            Some(Some(target)) => target.claim().map_or(Found::NotReady, Found::Claimed),
        }
    }

    pub(crate) fn active(&self, agent: &str) -> Option<&Arc<Target>> {
        self.active.get(agent)?.as_ref()
    }

    /// The instances that take requests and tasks, one per agent.
    pub(crate) fn active_ones(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.active.values().flatten()
    }

    pub(crate) fn by_token(&self, token: &str) -> Known<'_> {
        match self.tokens.get(token) {
            Some(target) => Known::Instance(target),
            None if self.revoked.contains(token) => Known::Revoked,
            None => Known::Not,
        }
    }

    pub(crate) fn by_address(&self, address: Ipv4Addr) -> Option<&Arc<Target>> {
        self.addresses.get(&address)
    }

    pub(crate) fn instance(&self, instance: InstanceId) -> Option<&Arc<Target>> {
        self.instances.get(&instance)
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.instances.values()
    }
}
