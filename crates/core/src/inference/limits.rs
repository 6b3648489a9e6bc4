//! What admission is bounded by, and how a refusal by such a bound reads.

use crate::time::Millis;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls in flight at the model server, never more. Zero is taken as one.
    pub slots: u32,
    /// Calls that may wait, all agents together.
    pub waiting_max: usize,
    /// Calls that one agent may have waiting.
    pub per_agent_max: usize,
    /// While calls for another model wait, the loaded one is served at most this long before it is drained.
    pub quantum: Millis,
    /// While calls for another model wait, the loaded one is granted at most this many calls.
    pub quantum_calls: u32,
    /// Slot time by which an agent's account may lie above the lowest active one. It bounds how long others
    /// are served first.
    pub debt_max: Millis,
    /// A model that was not used for so long may have been unloaded: it is loaded again before it is used.
    pub resident_for: Millis,
}

impl Limits {
    pub fn for_slots(slots: u32) -> Self {
        Self {
            slots,
            waiting_max: 1024,
            per_agent_max: 64,
            quantum: Millis::from_secs(2),
            quantum_calls: 256,
            debt_max: Millis::from_secs(10),
            resident_for: Millis::from_mins(4),
        }
    }

    /// The longest that a model with waiting calls stays unloaded, if `models` models have calls and neither a
    /// call nor a load takes longer than given: `(models − 1) · (quantum + call + load) + load`.
    pub fn turn_wait_max(&self, models: u32, call: Millis, load: Millis) -> Millis {
        let others = u64::from(models.saturating_sub(1));
        Millis((self.quantum + call + load).0.saturating_mul(others)) + load
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
