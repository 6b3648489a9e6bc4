//! Who waits: each agent's line, and the tasks that another agent of the type may take over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    id::{AgentName, AgentType},
    time::Nanos,
};

use super::task::{Task, TaskId};

/// First by rank, and among equals by arrival.
type Line = BTreeMap<(u64, u64), TaskId>;

#[derive(Default)]
pub(super) struct Lines {
    by_agent: HashMap<AgentName, Line>,
    /// Tasks that were addressed to a type, longest wait first.
    shared: HashMap<AgentType, BTreeSet<(Nanos, u64, TaskId)>>,
    count: u64,
}

impl Lines {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn add(&mut self, task: &Task, since: Nanos) {
        self.count += 1;
        self.by_agent.entry(task.agent.clone()).or_default().insert((task.rank, task.order), task.id.clone());
        if task.draw.is_some() {
            let place = (since, task.order, task.id.clone());
            self.shared.entry(task.agent_type.clone()).or_default().insert(place);
        }
    }

    pub(super) fn remove(&mut self, task: &Task, since: Nanos) {
        self.count -= 1;
        if let Some(line) = self.by_agent.get_mut(&task.agent) {
            line.remove(&(task.rank, task.order));
        }
        if task.draw.is_some()
            && let Some(shared) = self.shared.get_mut(&task.agent_type)
        {
            shared.remove(&(since, task.order, task.id.clone()));
        }
    }

    pub(super) fn first(&self, agent: &AgentName) -> Option<&TaskId> {
        self.by_agent.get(agent)?.first_key_value().map(|(_, id)| id)
    }

    /// The one of the type that has waited longest, and since when.
    pub(super) fn longest(&self, agent_type: &AgentType) -> Option<(Nanos, &TaskId)> {
        self.shared.get(agent_type)?.first().map(|(since, _, id)| (*since, id))
    }
}
