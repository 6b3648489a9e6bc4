//! Which seats have room in memory while a rollout is under way. A seat keeps its room over restarts of its
//! instance, and gives it back once it is empty and should be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentName, Side},
    plan::{Budget, Ledger, Need},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Room {
    ledger: Ledger,
    needs: BTreeMap<AgentName, Need>,
}

impl Room {
    /// None where the plan knows of no needs: then nothing is held back.
    pub(crate) fn new(budget: &Budget) -> Option<Self> {
        (!budget.needs.is_empty())
            .then(|| Self { ledger: Ledger::new(budget.ceiling_bytes), needs: budget.needs.clone() })
    }

    /// Whether the seat has room, now or already.
    pub(crate) fn hold(&mut self, agent: &AgentName, side: Side) -> bool {
        let Some(need) = self.needs.get(agent) else { return true };
        let bytes = match side {
            Side::Blue => need.blue_bytes,
            Side::Green => need.green_bytes,
        };
        self.ledger.reserve(agent, side, bytes).is_ok()
    }

    pub(crate) fn release(&mut self, agent: &AgentName, side: Side) {
        self.ledger.release(agent, side);
    }
}
