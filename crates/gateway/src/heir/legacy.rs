//! What the elder still has in flight, as far as it counts here: claims on instances, and errands to them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bellwether_core::{
    id::InstanceId,
    port::heir::{HeldBy, Holding},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    table::Table,
    target::{Claim, Target},
};

pub(crate) struct Legacy {
    kept: Mutex<Kept>,
    /// Moves on with each word of the elder.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    told: HashMap<InstanceId, HeldBy>,
    here: HashMap<InstanceId, Here>,
    connections: u64,
}

/// What counts for one instance.
struct Here {
    claims: Vec<Claim>,
    /// Of those that the elder cut, how many were counted.
    revoked: u64,
    /// Cancelled when its drain is over.
    cut: CancellationToken,
}

impl Default for Legacy {
    fn default() -> Self {
        Self { kept: Mutex::default(), changed: watch::Sender::new(0) }
    }
}

impl Legacy {
    /// Before there is a table: [`Self::hold`] then takes the claims, instance by instance.
    pub(super) fn told(&self, holding: &Holding) {
        let mut kept = self.lock();
        kept.told = holding.instances.iter().map(|held| (held.instance, held.clone())).collect();
        kept.connections = holding.connections;
        drop(kept);
        self.changed.send_modify(|version| *version += 1);
    }

    /// As many claims as the elder has.
    pub(crate) fn hold(&self, target: &Arc<Target>) {
        let mut kept = self.lock();
        let Some(held) = kept.told.get(&target.card.instance).cloned() else { return };
        let here = kept.here.entry(target.card.instance).or_insert_with(|| Here {
            claims: Vec::new(),
            revoked: 0,
            cut: target.cut_token(),
        });
        // Counted before the claims go, because with the last of them the instance may be empty.
        (here.revoked..held.revoked).for_each(|_| target.count_revoked());
        here.revoked = here.revoked.max(held.revoked);
        let claims = held.claims as usize;
        let gone = here.claims.split_off(claims.min(here.claims.len()));
        while here.claims.len() < claims {
            here.claims.push(target.hold());
        }
        drop(kept);
        // A claim that goes may tell that its instance is empty.
        drop(gone);
    }

    /// Whether the elder has something of this instance in flight.
    pub(crate) fn has(&self, instance: InstanceId) -> bool {
        self.lock().told.get(&instance).is_some_and(|held| held.claims > 0 || held.errands)
    }

    /// A later word of the elder.
    pub(super) fn adjust(&self, table: &Table, holding: &Holding) {
        self.told(holding);
        let gone: Vec<Here> = {
            let mut kept = self.lock();
            let told: HashSet<InstanceId> = kept.told.keys().copied().collect();
            kept.here.extract_if(|instance, _| !told.contains(instance)).map(|(_, here)| here).collect()
        };
        drop(gone);
        holding.instances.iter().filter_map(|held| table.instance(held.instance)).for_each(|target| self.hold(target));
    }

    /// Instances whose drain is over and of which the elder still has something.
    pub(super) fn to_cut(&self) -> Vec<InstanceId> {
        let kept = self.lock();
        let over = |here: &Here| here.cut.is_cancelled() && !here.claims.is_empty();
        kept.here.iter().filter(|(_, here)| over(here)).map(|(&instance, _)| instance).collect()
    }

    pub(super) fn has_errands(&self, instance: InstanceId) -> bool {
        self.lock().told.get(&instance).is_some_and(|held| held.errands)
    }

    /// Returns when the elder brings nothing to the instance any more.
    pub(crate) async fn errands_over(&self, instance: InstanceId) {
        let mut changed = self.changed.subscribe();
        // The sender lives as long as this does.
        drop(changed.wait_for(|_| !self.has_errands(instance)).await);
    }

    pub(super) fn connections(&self) -> u64 {
        self.lock().connections
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bellwether_core::{
        id::{Generation, InstanceToken, ModelName, Side},
        port::gateway::{GatewayEvent, InstanceCard},
        time::Nanos,
    };
    use tokio::sync::mpsc;

    use super::*;

    fn target() -> (Arc<Target>, mpsc::UnboundedReceiver<GatewayEvent>) {
        let card = InstanceCard {
            instance: InstanceId(1),
            agent: "a".into(),
            agent_type: "worker".into(),
            model: ModelName::new("m"),
            side: Side::Blue,
            token: InstanceToken::new("token"),
            address: Ipv4Addr::LOCALHOST,
            upstream: None,
            delivery: bellwether_core::spec::Delivery::Pull,
        };
        let (events, told) = mpsc::unbounded_channel();
        (Arc::new(Target::new(card, events)), told)
    }

    fn holding(claims: u32, revoked: u64) -> Holding {
        let held = HeldBy { instance: InstanceId(1), claims, revoked, errands: false };
        Holding { instances: if claims > 0 { vec![held] } else { Vec::new() }, ..Holding::default() }
    }

    #[test]
    fn a_retired_instance_is_empty_when_the_elder_has_nothing_of_it_any_more() {
        let (legacy, (target, mut told)) = (Legacy::default(), target());
        legacy.told(&holding(2, 0));
        target.open(Generation(1), Nanos(0));
        assert!(legacy.has(InstanceId(1)));
        legacy.hold(&target);
        target.retire();
        assert_eq!(target.view().held, 2);
        legacy.told(&holding(1, 1));
        legacy.hold(&target);
        assert_eq!(target.view().held, 1);
        assert!(told.try_recv().is_err(), "not empty");
        legacy.adjust(&Table::default(), &holding(0, 0));
        let Ok(GatewayEvent::Empty { revoked, .. }) = told.try_recv() else { panic!("it is empty") };
        assert_eq!(revoked, 1);
    }

    #[test]
    fn what_the_elder_holds_past_the_drain_is_to_be_cut() {
        let (legacy, (target, _told)) = (Legacy::default(), target());
        legacy.told(&holding(1, 0));
        legacy.hold(&target);
        assert!(legacy.to_cut().is_empty());
        target.cut();
        assert_eq!(legacy.to_cut(), [InstanceId(1)]);
    }
}
