//! What admission is bounded by, and how a refusal by such a bound reads.

use std::collections::BTreeMap;

use crate::{id::AgentName, time::Millis};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls in flight at each model server, never more. Zero is taken as one.
    pub slots: Vec<u32>,
    /// Calls that may wait, all agents together.
    pub waiting_max: usize,
    /// Calls that one agent may have waiting.
    pub per_agent_max: usize,
    /// While calls for other runners wait, the loaded one is served for so long before it is drained: more if the agents
    /// that wait for it have more than their share of all weights, less if they have less, but at least a quarter of it.
    pub quantum: Millis,
    /// A call rises by one class each time it has waited for so long.
    pub ageing: Millis,
    /// A model that was not used for so long may have been unloaded: it is loaded again before it is used.
    pub resident_for: Millis,
    /// Shares of the slots; who is not named has 1.
    pub weights: BTreeMap<AgentName, u32>,
}

impl Limits {
    pub fn for_slots(slots: u32) -> Self {
        Self {
            slots: vec![slots],
            waiting_max: 1024,
            per_agent_max: 64,
            quantum: Millis::from_secs(2),
            ageing: Millis::from_secs(30),
            resident_for: Millis::from_mins(4),
            weights: BTreeMap::new(),
        }
    }
}

/// Which bound refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// [`Limits::waiting_max`].
    Total,
    /// [`Limits::per_agent_max`].
    Agent,
}

/// The call was not taken. At the pace of the last calls there should be room again after `retry_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many model calls wait; there should be room in {retry_after}")]
pub struct Refused {
    pub bound: Bound,
    pub retry_after: Millis,
}
