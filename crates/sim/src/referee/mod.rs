//! What must hold after every event, checked against a model of its own that knows nothing of how the machines
//! come to their decisions.

mod batches;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bellwether_core::{
    id::{AgentName, Fence, Generation, InstanceId, Side},
    plan::Plan,
    time::{Millis, Nanos},
    traffic::{Change, Route, State, TaskId},
};

use batches::Batches;

/// A broken promise.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{invariant}: {detail}")]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

pub(crate) fn violated<T>(invariant: &'static str, detail: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { invariant, detail: detail.into() })
}

#[derive(Default)]
pub(crate) struct Referee {
    batches: Batches,
    generation: Generation,
    /// Who may take new leases of each agent, and under which fence.
    holders: BTreeMap<AgentName, (Option<InstanceId>, Fence)>,
    sides: BTreeMap<InstanceId, Side>,
    leased: BTreeMap<TaskId, InstanceId>,
    submitted: BTreeSet<TaskId>,
    finished: BTreeSet<TaskId>,
    allocated: BTreeMap<InstanceId, AgentName>,
    /// Instances that ended without being asked to.
    died: BTreeSet<InstanceId>,
    /// Those that a driver said do not run, though they did.
    discredited: BTreeSet<InstanceId>,
    /// All that ever had traffic.
    served: BTreeSet<InstanceId>,
    /// The last instance that had each agent's traffic.
    last_active: BTreeMap<AgentName, InstanceId>,
    /// Agents that the gateway itself moved, until they are moved again.
    fell_back: BTreeSet<AgentName>,
    /// Agents whose green had to go before blue had room, until they are served again.
    gave_way: BTreeSet<AgentName>,
    /// Agents of which a green answered a synthetic task well.
    proven: BTreeSet<AgentName>,
    away: BTreeMap<AgentName, Nanos>,
    served_once: BTreeSet<AgentName>,
    pub(crate) unavailable: Millis,
    pub(crate) leases_lost: u64,
}

/// Where green is not at fault, so many agents at most are without an instance at a time because there is no room for
/// blue beside green.
const GAP_MAX: usize = 16;

impl Referee {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { batches: Batches::of(plan), ..Self::default() }
    }

    /// One transaction of the gateway.
    pub(crate) fn changes(&mut self, changes: &[Change]) -> Result<(), Violation> {
        for change in changes {
            self.change(change)?;
        }
        if changes.iter().any(|change| matches!(change, Change::Routed { .. })) {
            let (holders, sides) = (&self.holders, &self.sides);
            let side_of = |agent: &AgentName| sides.get(&holders.get(agent)?.0?).copied();
            self.batches.are_whole(&side_of)?;
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), Violation> {
        match change {
            Change::Generation { generation, .. } => {
                if *generation != self.generation.next() {
                    return violated("the generation grows by one", format!("{} then {generation}", self.generation));
                }
                self.generation = *generation;
            }
            Change::Routed { agent, route } => {
                if let Some(active) = route.active {
                    self.fell_back.remove(agent);
                    self.served.insert(active);
                    self.last_active.insert(agent.clone(), active);
                }
                let (_, before) = self.holders.insert(agent.clone(), (route.active, route.fence)).unwrap_or_default();
                if route.fence < before {
                    return violated("a fence never goes back", format!("{agent}: {before} then {}", route.fence));
                }
            }
            Change::Queued { task } => {
                if !self.submitted.insert(task.id.clone()) {
                    return violated("a task is accepted once", task.id.to_string());
                }
            }
            Change::Leased { id, lease, .. } => {
                if let Some(holder) = self.leased.insert(id.clone(), lease.instance) {
                    return violated("a task has one holder", format!("{id}: {holder} and {}", lease.instance));
                }
                let (active, fence) = self.holders.get(&lease.agent).copied().unwrap_or_default();
                // A holder that asks again gets its own task again, under the fence it had.
                if lease.fence >= fence && active != Some(lease.instance) {
                    return violated("one fence holder per agent", format!("{id} went to {}", lease.instance));
                }
            }
            Change::LeaseLost { task, lease, .. } => {
                self.leases_lost += 1;
                if self.leased.remove(&task.id) != Some(lease.instance) {
                    return violated("a lease is lost by its holder", task.id.to_string());
                }
            }
            Change::Retried { task, lease, .. } => {
                if self.leased.remove(&task.id) != Some(lease.instance) {
                    return violated("only the holder reports on a task", task.id.to_string());
                }
            }
            Change::Revived { task } => {
                if !self.finished.remove(&task.id) {
                    return violated("only what has ended begins anew", task.id.to_string());
                }
            }
            Change::Finished { task, by, .. } => {
                if !self.finished.insert(task.id.clone()) {
                    return violated("a task is completed once", task.id.to_string());
                }
                let holder = self.leased.remove(&task.id);
                if let Some((_, lease)) = by
                    && holder != Some(lease.instance)
                {
                    return violated("only the holder completes a task", task.id.to_string());
                }
            }
            Change::FellBack { agent, .. } => {
                self.batches.excuse(agent);
                self.fell_back.insert(agent.clone());
            }
            Change::Enrolled { card } => {
                self.sides.insert(card.instance, card.side);
            }
            Change::Settled { instance } => {
                self.sides.insert(*instance, Side::Blue);
            }
            Change::Checkpoint { .. }
            | Change::Places { .. }
            | Change::Gone { .. }
            | Change::Forgotten { .. }
            | Change::Opened { .. }
            | Change::Retired { .. }
            | Change::DrainOver { .. } => {}
        }
        Ok(())
    }

    /// Every accepted task waits, leased by exactly one, or was completed exactly once.
    pub(crate) fn tasks_add_up(&self, waiting: u64, leased: u64) -> Result<(), Violation> {
        let (accepted, finished) = (self.submitted.len() as u64, self.finished.len() as u64);
        if waiting + leased + finished != accepted || leased != self.leased.len() as u64 {
            return violated(
                "no task is lost",
                format!("accepted {accepted}, waiting {waiting}, leased {leased}, finished {finished}"),
            );
        }
        Ok(())
    }

    /// The tasks of a gateway that was restarted are those that were there before.
    pub(crate) fn same_tasks<'a>(
        &self,
        tasks: impl Iterator<Item = &'a bellwether_core::traffic::Task>,
    ) -> Result<(), Violation> {
        let mut open = 0;
        for task in tasks {
            open += 1;
            let holder = match &task.state {
                State::Delayed { .. } | State::Queued { .. } => None,
                State::Leased(lease) => Some(lease.instance),
            };
            if !self.submitted.contains(&task.id)
                || self.finished.contains(&task.id)
                || self.leased.get(&task.id).copied() != holder
            {
                return violated("a restart of the gateway keeps every task", task.id.to_string());
            }
        }
        if open + self.finished.len() != self.submitted.len() {
            return violated("a restart of the gateway keeps every task", format!("{open} are left"));
        }
        Ok(())
    }

    /// So are the routes, with the fence of each.
    pub(crate) fn same_routes<'a>(
        &self,
        generation: Generation,
        routes: impl Iterator<Item = (&'a AgentName, &'a Route)>,
    ) -> Result<(), Violation> {
        const INVARIANT: &str = "a restart of the gateway keeps every route";
        if generation != self.generation {
            return violated(INVARIANT, format!("generation {generation} of {}", self.generation));
        }
        let mut count = 0;
        for (agent, route) in routes {
            count += 1;
            if self.holders.get(agent) != Some(&(route.active, route.fence)) {
                return violated(INVARIANT, format!("{agent}: {:?}, fence {}", route.active, route.fence));
            }
        }
        if count != self.holders.len() {
            return violated(INVARIANT, format!("{count} of {}", self.holders.len()));
        }
        Ok(())
    }

    pub(crate) fn memory(&self, used: u64, ceiling: u64) -> Result<(), Violation> {
        if used <= ceiling {
            return Ok(());
        }
        violated("memory stays below the ledger's ceiling", format!("{} MiB of {} MiB", used >> 20, ceiling >> 20))
    }

    pub(crate) fn slots(&self, busy: usize, slots: usize) -> Result<(), Violation> {
        if busy <= slots {
            return Ok(());
        }
        violated("never more model calls than slots", busy.to_string())
    }

    pub(crate) fn allocated(&mut self, instance: InstanceId, agent: &AgentName) -> Result<(), Violation> {
        let owner = self.allocated.entry(instance).or_insert_with(|| agent.clone());
        if owner == agent {
            return Ok(());
        }
        violated("an instance number is used once", format!("{instance} for {owner} and {agent}"))
    }

    pub(crate) fn is_allocated(&self, instance: InstanceId) -> Result<(), Violation> {
        if self.allocated.contains_key(&instance) {
            return Ok(());
        }
        violated("no command for an instance that was never enrolled", instance.to_string())
    }

    /// Once an agent was served it is served, unless its instance died. `blamed` says that it did.
    pub(crate) fn availability(
        &mut self,
        now: Nanos,
        agent: &AgentName,
        served: bool,
        blamed: bool,
    ) -> Result<(), Violation> {
        if served {
            self.gave_way.remove(agent);
            self.served_once.insert(agent.clone());
            if let Some(since) = self.away.remove(agent) {
                self.unavailable = self.unavailable + now.since(since);
            }
        } else if self.served_once.contains(agent) && !self.away.contains_key(agent) {
            if !blamed {
                return violated("an agent that is served stays served", format!("{agent} lost its active instance"));
            }
            self.away.insert(agent.clone(), now);
        }
        Ok(())
    }

    pub(crate) fn proven(&mut self, agent: &AgentName) {
        self.proven.insert(agent.clone());
    }

    pub(crate) fn is_proven(&self, agent: &AgentName) -> bool {
        self.proven.contains(agent)
    }

    /// Green goes although it has the traffic; `blamed` says that it does harm.
    pub(crate) fn gives_way(&mut self, agent: &AgentName, blamed: bool) -> Result<(), Violation> {
        self.batches.excuse(agent);
        self.gave_way.insert(agent.clone());
        if blamed || self.gave_way.len() <= GAP_MAX {
            return Ok(());
        }
        violated("never below the required ready capacity", format!("{} agents gave way", self.gave_way.len()))
    }

    /// It ended without being asked to.
    pub(crate) fn died(&mut self, instance: InstanceId, agent: &AgentName) {
        self.batches.excuse(agent);
        self.died.insert(instance);
    }

    pub(crate) fn has_died(&self, instance: InstanceId) -> bool {
        self.died.contains(&instance)
    }

    /// Whoever relies on the driver must take it for dead.
    pub(crate) fn discredit(&mut self, instance: InstanceId, agent: &AgentName) {
        self.died(instance, agent);
        self.discredited.insert(instance);
    }

    pub(crate) fn has_served(&self, instance: InstanceId) -> bool {
        self.served.contains(&instance)
    }

    pub(crate) fn is_discredited(&self, instance: InstanceId) -> bool {
        self.discredited.contains(&instance)
    }

    pub(crate) fn discredited(&self) -> impl Iterator<Item = &InstanceId> {
        self.discredited.iter()
    }

    /// They were taken back alone.
    pub(crate) fn held_back<'a>(&mut self, agents: impl IntoIterator<Item = &'a AgentName>) {
        for agent in agents {
            self.batches.excuse(agent);
        }
    }

    pub(crate) fn rollout_is_over(&mut self) {
        self.batches = Batches::default();
    }

    pub(crate) fn gave_way(&self, agent: &AgentName) -> bool {
        self.gave_way.contains(agent)
    }

    pub(crate) fn fell_back(&self, agent: &AgentName) -> bool {
        self.fell_back.contains(agent)
    }

    pub(crate) fn lost_by_death(&self, agent: &AgentName) -> bool {
        self.last_active.get(agent).is_some_and(|last| self.died.contains(last))
    }

    pub(crate) fn is_away(&self) -> bool {
        !self.away.is_empty()
    }

    pub(crate) fn open_tasks(&self) -> usize {
        self.submitted.len() - self.finished.len()
    }

    pub(crate) fn tasks(&self) -> u64 {
        self.submitted.len() as u64
    }
}
