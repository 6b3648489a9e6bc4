//! Calls that wait for a slot, by model and, within a model, by agent in the order in which they came.

use std::collections::{BTreeMap, VecDeque};

use super::CallId;
use crate::id::{AgentName, ModelName};

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    models: BTreeMap<ModelName, BTreeMap<AgentName, VecDeque<CallId>>>,
    /// Models with waiting calls; the one whose turn comes next is first.
    turns: VecDeque<ModelName>,
    len: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn models(&self) -> usize {
        self.turns.len()
    }

    pub(super) fn is_waiting(&self, model: &ModelName) -> bool {
        self.models.contains_key(model)
    }

    pub(super) fn push(&mut self, call: CallId, agent: &AgentName, model: &ModelName) {
        if !self.models.contains_key(model) {
            self.turns.push_back(model.clone());
        }
        self.models.entry(model.clone()).or_default().entry(agent.clone()).or_default().push_back(call);
        self.len += 1;
    }

    /// Takes the first call of the agent that ranks lowest among those that wait for `model`; of equals, the
    /// one that came first.
    pub(super) fn pop<R: Ord>(&mut self, model: &ModelName, rank: impl Fn(&AgentName) -> R) -> Option<CallId> {
        let agents = self.models.get(model)?;
        let (agent, calls) = agents.iter().min_by_key(|(agent, calls)| (rank(agent), calls.front().copied()))?;
        let (agent, call) = (agent.clone(), *calls.front()?);
        self.remove(call, &agent, model);
        Some(call)
    }

    pub(super) fn remove(&mut self, call: CallId, agent: &AgentName, model: &ModelName) {
        let Some(agents) = self.models.get_mut(model) else { return };
        let Some(calls) = agents.get_mut(agent) else { return };
        let Some(at) = calls.iter().position(|&waiting| waiting == call) else { return };
        calls.remove(at);
        self.len -= 1;
        if calls.is_empty() {
            agents.remove(agent);
        }
        if agents.is_empty() {
            self.models.remove(model);
            self.turns.retain(|waiting| waiting != model);
        }
    }

    /// True if calls for another model than this wait.
    pub(super) fn others_wait(&self, than: &ModelName) -> bool {
        self.turns.iter().any(|model| model != than)
    }

    /// The model whose turn comes after that of `current`, which goes to the end.
    pub(super) fn next_turn(&mut self, current: Option<&ModelName>) -> Option<ModelName> {
        if let Some(at) = current.and_then(|current| self.turns.iter().position(|model| model == current)) {
            let current = self.turns.remove(at);
            self.turns.extend(current);
        }
        self.turns.front().cloned()
    }
}
