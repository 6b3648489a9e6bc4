//! The instances that the gateway knows, and which of them are draining.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::InstanceId,
    port::gateway::InstanceCard,
    time::{Nanos, Now, UnixMillis},
};

/// An instance that was enrolled and not yet forgotten.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrolled {
    pub card: InstanceCard,
    /// Tasks it works on at once; 1 unless it said otherwise.
    pub places: u32,
    /// Its process has ended.
    pub gone: bool,
    /// While it drains: when what it holds is cut.
    pub drain_limit: Option<UnixMillis>,
}

impl Enrolled {
    pub fn new(card: InstanceCard) -> Self {
        Self { card, places: 1, gone: false, drain_limit: None }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Roster {
    instances: BTreeMap<InstanceId, Enrolled>,
    drains: BTreeSet<(Nanos, InstanceId)>,
}

impl Roster {
    /// Drains go on for what is left of them by wall time.
    pub(super) fn restore(now: Now, instances: BTreeMap<InstanceId, Enrolled>) -> Self {
        let drains = instances
            .iter()
            .filter_map(|(&id, enrolled)| Some((now.mono + enrolled.drain_limit?.since(now.wall), id)))
            .collect();
        Self { instances, drains }
    }

    pub(super) fn get(&self, instance: InstanceId) -> Option<&Enrolled> {
        self.instances.get(&instance)
    }

    pub(super) fn get_mut(&mut self, instance: InstanceId) -> Option<&mut Enrolled> {
        self.instances.get_mut(&instance)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&InstanceId, &Enrolled)> {
        self.instances.iter()
    }

    pub(super) fn enrol(&mut self, card: InstanceCard) {
        self.instances.insert(card.instance, Enrolled::new(card));
    }

    pub(super) fn forget(&mut self, instance: InstanceId) -> Option<Enrolled> {
        self.end_drain(instance);
        self.instances.remove(&instance)
    }

    pub(super) fn begin_drain(&mut self, instance: InstanceId, at: Nanos, limit: UnixMillis) {
        self.end_drain(instance);
        if let Some(enrolled) = self.instances.get_mut(&instance) {
            enrolled.drain_limit = Some(limit);
            self.drains.insert((at, instance));
        }
    }

    pub(super) fn end_drain(&mut self, instance: InstanceId) {
        self.drains.retain(|&(_, draining)| draining != instance);
        if let Some(enrolled) = self.instances.get_mut(&instance) {
            enrolled.drain_limit = None;
        }
    }

    /// An instance whose limit has passed, taken off the list.
    pub(super) fn overdue(&mut self, now: Nanos) -> Option<InstanceId> {
        let &(at, instance) = self.drains.first()?;
        (at <= now).then(|| {
            self.end_drain(instance);
            instance
        })
    }

    pub(super) fn next_timeout(&self) -> Option<Nanos> {
        self.drains.first().map(|&(at, _)| at)
    }
}
