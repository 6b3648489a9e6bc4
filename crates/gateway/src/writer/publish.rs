//! What a commit means for everybody else: a fresh table, claims of leases, counts, and those who waited.

use bellwether_core::{
    id::InstanceId,
    port::gateway::{GatewayEvent, InstanceCard},
    traffic::{Change, End, Lease, LeaseEnd, Report, Task, TaskId},
};

use super::{Writer, answer};
use crate::{observe::Key, store::StoreError, table::Table};

impl Writer {
    /// The first table of this process. Requests of before are gone, or with an older gateway; leases are not.
    pub(super) fn publish_restored(&mut self) {
        self.publish_table(&[]);
        let table = self.board.table.load_full();
        // Nobody could show anything while we were away.
        let now = self.board.clock.mono();
        for target in table.instances() {
            let held = self.traffic.held_by(target.card.instance);
            let is_active = self.traffic.fence_of(target.card.instance).is_some();
            target.began_before(!held.is_empty());
            let is_lent = self.board.legacy.has(target.card.instance);
            if is_active || is_lent || !held.is_empty() {
                target.open(self.traffic.generation(), now);
            }
            // Before it is retired: what an older gateway still has of it keeps it from being empty.
            self.board.legacy.hold(target);
            for id in held {
                target.work.lease_began(id.clone(), now);
                self.claims.insert(id.clone(), target.hold());
                self.inherited.insert(id.clone());
            }
            // One that was draining tells that it is empty when its last lease ends.
            if !is_active {
                target.retire();
            }
        }
        self.count();
    }

    /// The fresh table is there before any target is retired: a claim that fails finds its heir.
    pub(super) fn publish(&mut self, done: &[Change]) -> Result<(), StoreError> {
        let is_old = |change: &Change| {
            matches!(
                change,
                Change::Enrolled { .. } | Change::Forgotten { .. } | Change::Gone { .. } | Change::Routed { .. }
            )
        };
        // Most batches move no route: a table for each would cost more than they do.
        if done.iter().any(is_old) {
            self.publish_table(done);
        }
        for change in done {
            match change {
                Change::Leased { id, lease, .. } => {
                    self.lease_began(id, lease);
                    self.tell_shown(id)?;
                }
                Change::LeaseLost { task, end, lease } => {
                    self.lease_lost(task, *end, lease);
                    self.tell_shown(&task.id)?;
                }
                Change::Retried { task, report, lease, lease_micros } => {
                    tracing::info!(task = %task.id, instance = %lease.instance, attempt = task.attempts, "failed");
                    self.reported(task, *report, lease, *lease_micros);
                    self.tell_shown(&task.id)?;
                }
                Change::Finished { task, how, by, lease_micros, .. } => {
                    self.finished(task, *how, by.as_ref(), *lease_micros)?;
                }
                Change::Retired { instance, .. } | Change::Gone { instance } => self.retire(*instance),
                Change::Settled { instance } => {
                    if let Some(target) = self.board.table.load().instance(*instance) {
                        target.settle();
                        self.board.settle(&target.card.agent);
                    }
                }
                Change::DrainOver { instance } => {
                    if let Some(target) = self.board.table.load().instance(*instance) {
                        target.cut();
                    }
                }
                Change::FellBack { agent, from, to, generation } => {
                    tracing::warn!(%agent, %from, %to, %generation, "fell back");
                    self.board.tell(GatewayEvent::FellBack {
                        agent: agent.clone(),
                        from: *from,
                        to: *to,
                        generation: *generation,
                    });
                }
                Change::Generation { generation, moves } => {
                    tracing::info!(%generation, moves = moves.len(), "cut over");
                }
                Change::Enrolled { card } => self.forget_predecessor(card),
                Change::Places { .. }
                | Change::Forgotten { .. }
                | Change::Routed { .. }
                | Change::Opened { .. }
                | Change::Queued { .. }
                | Change::Revived { .. } => {}
                Change::Checkpoint { id } => self.tell_shown(id)?,
            }
        }
        if done.iter().any(|change| matches!(change, Change::Finished { .. })) {
            self.tell_completions()?;
        }
        Ok(())
    }

    fn publish_table(&mut self, done: &[Change]) {
        let before = self.board.table.load_full();
        for change in done {
            if let Change::Forgotten { instance, token } = change {
                self.revoked.insert(token.as_str().to_owned());
                // Not in the next table, but what it holds has to end like that of any other.
                if let Some(target) = before.instance(*instance) {
                    target.retire();
                    target.cut();
                }
            }
        }
        let table = Table::of(&self.traffic, &before, self.revoked.clone(), &self.board.events);
        for change in done {
            if let Change::Opened { instance, generation } = change
                && let Some(target) = table.instance(*instance)
            {
                target.open(*generation, self.board.clock.mono());
            }
        }
        self.board.publish(table);
    }

    /// Where the other side serves, an earlier rollout was undone, and what comes begins without a past. An instance
    /// that takes the place of one that crashed inherits.
    fn forget_predecessor(&self, card: &InstanceCard) {
        let table = self.board.table.load();
        if table.active(card.agent.as_str()).is_some_and(|active| active.side() != card.side) {
            self.board.forget(&card.agent, card.side);
        }
    }

    /// Unless it is active again by the end of the batch.
    fn retire(&self, instance: InstanceId) {
        if self.traffic.fence_of(instance).is_none()
            && let Some(target) = self.board.table.load().instance(instance)
        {
            target.retire();
        }
    }

    fn lease_began(&mut self, id: &TaskId, lease: &Lease) {
        if let Some(target) = self.board.table.load().instance(lease.instance) {
            target.work.lease_began(id.clone(), lease.granted);
            self.claims.insert(id.clone(), target.hold());
        }
    }

    fn lease_lost(&mut self, task: &Task, end: LeaseEnd, lease: &Lease) {
        tracing::info!(task = %task.id, instance = %lease.instance, why = ?end, "lease lost");
        let inherited = self.inherited.remove(&task.id);
        if let Some(claim) = self.lease_ended(&task.id) {
            if end == LeaseEnd::Revoked {
                claim.target().count_revoked();
            }
            let key = key(task, lease, &claim);
            let outcome = end.outcome().filter(|_| !inherited);
            self.board.recorder.ended(&key, outcome, |cell| cell.tasks.lost_leases += u64::from(outcome.is_some()));
        }
        self.board.waits.take(task.id.as_str(), lease.instance);
    }

    fn finished(
        &mut self,
        task: &Task,
        how: End,
        by: Option<&(Report, Lease)>,
        lease_micros: u64,
    ) -> Result<(), StoreError> {
        *self.counts.ended.of(how) += 1;
        match by {
            Some((report, lease)) => self.reported(task, *report, lease, lease_micros),
            None => tracing::warn!(task = %task.id, attempts = task.attempts, how = how.as_str(), "given up"),
        }
        self.tell_shown(&task.id)
    }

    /// Answers those who waited for what has become of a task.
    pub(super) fn tell_shown(&mut self, id: &TaskId) -> Result<(), StoreError> {
        let Some(waiting) = self.shows_awaited.remove(id) else { return Ok(()) };
        let shown = self.show(id)?;
        for (wait, tell) in waiting {
            if shown.as_ref().is_some_and(|shown| wait.goes_on(shown)) {
                self.shows_awaited.entry(id.clone()).or_default().push((wait, tell));
            } else {
                answer::tell(tell, shown.clone());
            }
        }
        Ok(())
    }

    /// The holder said what came of it.
    fn reported(&mut self, task: &Task, report: Report, lease: &Lease, lease_micros: u64) {
        let waited = self.board.waits.take(task.id.as_str(), lease.instance);
        let inherited = self.inherited.remove(&task.id);
        let Some(claim) = self.lease_ended(&task.id) else { return };
        if inherited && report == Report::Failed {
            return tracing::info!(task = %task.id, "failed over the end of a gateway; held against nobody");
        }
        self.board.recorder.ended(&key(task, lease, &claim), Some(report.outcome()), |cell| {
            match report {
                Report::Completed { empty: false } => cell.tasks.completed += 1,
                Report::Completed { empty: true } => {
                    cell.tasks.failed += 1;
                    cell.signs.empty += 1;
                }
                Report::Failed => cell.tasks.failed += 1,
            }
            cell.tasks.lease_time.record(lease_micros);
            cell.tasks.own_time.record(lease_micros.saturating_sub(waited));
        });
    }

    /// Returns the claim, so that the instance is not empty before the end was counted.
    fn lease_ended(&mut self, id: &TaskId) -> Option<crate::target::Claim> {
        let claim = self.claims.remove(id)?;
        claim.target().work.lease_ended(id);
        Some(claim)
    }

    fn tell_completions(&mut self) -> Result<(), StoreError> {
        for waiting in std::mem::take(&mut self.completions_awaited) {
            if waiting.tell.is_closed() {
                continue;
            }
            let found = self.store.completions(waiting.after, waiting.limit)?;
            if found.is_empty() {
                self.completions_awaited.push(waiting);
            } else {
                answer::tell(waiting.tell, found);
            }
        }
        Ok(())
    }
}

/// Under the agent for which the task was meant, and the model of the one that worked on it.
fn key(task: &Task, lease: &Lease, claim: &crate::target::Claim) -> Key {
    Key {
        agent: task.agent.clone(),
        model: claim.target().card.model.clone(),
        drawn: task.arm(lease),
        served: lease.side,
    }
}
