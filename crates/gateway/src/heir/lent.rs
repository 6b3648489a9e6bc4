//! What the elder tells its heir after its store is closed: what it still has, and what it can no longer write down.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bellwether_core::{
    id::InstanceId,
    inference::Runner,
    port::heir::{Estate, HeldBy, Holding, Late, Left},
    time::{Millis, Nanos},
};

use crate::{
    board::Board,
    desk::Desk,
    door::House,
    model::{InFlight, Model},
    target::Target,
};

/// Signs of work are told no more often than this.
const SIGNS_EVERY: Millis = Millis::from_secs(1);

pub(super) struct Lent {
    house: Arc<House>,
    /// Revoked before the store was closed: told by the elder itself.
    revoked_before: BTreeMap<InstanceId, u64>,
    /// Of the last part that was told.
    number: u64,
    told: Option<Holding>,
    /// Told, or to be told, and not yet taken in.
    late: Vec<Late>,
    is_told: bool,
    signs_at: Nanos,
}

impl Lent {
    pub(super) fn new(house: Arc<House>) -> Self {
        let table = house.board.table.load();
        let revoked_before = table.instances().map(|target| (target.card.instance, target.revoked())).collect();
        let signs_at = house.board.clock.mono();
        drop(table);
        Self { house, revoked_before, number: 0, told: None, late: Vec::new(), is_told: false, signs_at }
    }

    pub(super) async fn estate(&mut self, shut_for: Duration) -> Estate {
        let (holding, resident) = self.holding().await;
        self.told = Some(holding.clone());
        let shut_for = Millis(u64::try_from(shut_for.as_millis()).unwrap_or(u64::MAX));
        Estate {
            holding,
            resident,
            streaks: self.board().recorder.streaks(),
            waits: self.board().waits.drain(),
            shut_for,
        }
    }

    /// The part with this number need not be told again.
    pub(super) fn taken(&mut self, number: u64) {
        if number == self.number && self.is_told {
            self.late.clear();
            self.is_told = false;
        }
    }

    /// Another heir knows nothing of what the one before was told.
    pub(super) fn forget_told(&mut self) {
        self.told = None;
    }

    /// None if there is nothing that was not told. What is lost on its way is told again.
    pub(super) async fn left(&mut self, is_last: bool) -> Option<Left> {
        let (holding, _) = self.holding().await;
        // After the holding: what ended has been written down before its claim went.
        self.collect();
        if self.late.is_empty() && self.told.as_ref() == Some(&holding) && !is_last {
            return None;
        }
        self.number += 1;
        self.told = Some(holding.clone());
        self.is_told = true;
        Some(Left { number: self.number, holding, late: self.late.clone(), is_last })
    }

    /// Everything that was told was taken in.
    pub(super) fn is_settled(&self) -> bool {
        self.late.is_empty() && !self.is_told
    }

    async fn holding(&self) -> (Holding, Option<Runner>) {
        let InFlight { calls, resident } = self.model().in_flight().await;
        let table = self.board().table.load();
        let mut instances: Vec<HeldBy> =
            table.instances().map(|target| self.held_by(target)).filter(is_worth_telling).collect();
        instances.sort_by_key(|held| held.instance);
        let connections = self.house.open_connections() as u64 + self.board().legacy.connections();
        (Holding { instances, calls, connections }, resident)
    }

    fn held_by(&self, target: &Arc<Target>) -> HeldBy {
        let instance = target.card.instance;
        let before = self.revoked_before.get(&instance).copied().unwrap_or_default();
        HeldBy {
            instance,
            claims: target.held(),
            revoked: target.revoked().saturating_sub(before),
            errands: target.has_errands() || self.board().legacy.has_errands(instance),
        }
    }

    fn collect(&mut self) {
        let (cells, outcomes) = self.board().recorder.take_late();
        let late = self.desk().take_late();
        let waits = self.board().waits.drain();
        self.late.extend(cells.into_iter().map(|cell| Late::Counted { cell: Box::new(cell) }));
        self.late.extend(outcomes.into_iter().map(|(key, outcome)| Late::Ended {
            agent: key.agent,
            model: key.model,
            drawn: key.drawn,
            served: key.served,
            outcome,
        }));
        self.late.extend(waits.into_iter().map(Late::Waited));
        self.late.extend(late);
        let now = self.board().clock.mono();
        let since = now.since(self.signs_at);
        if since >= SIGNS_EVERY {
            self.signs_at = now;
            let table = self.board().table.load_full();
            let signed = table.instances().filter(|it| it.held() > 0 && it.work.quiet(now) < since);
            self.late.extend(signed.map(|it| Late::Signed { instance: it.card.instance }));
        }
    }

    fn board(&self) -> &Board {
        &self.house.board
    }

    fn desk(&self) -> &Desk {
        &self.house.desk
    }

    fn model(&self) -> &Model {
        &self.house.model
    }
}

/// One of which something was cut is told on: its heir counts that before it counts it as empty.
fn is_worth_telling(held: &HeldBy) -> bool {
    held.claims > 0 || held.revoked > 0 || held.errands
}
