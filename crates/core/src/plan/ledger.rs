//! Who holds how much memory, and never more than the ceiling together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{AgentName, Side};

/// An account of memory. A side of an agent holds at most one reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    ceiling_bytes: u64,
    #[serde(with = "crate::pairs")]
    held: BTreeMap<(AgentName, Side), u64>,
    used_bytes: u64,
    peak_bytes: u64,
}

/// A reservation that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted_bytes} bytes are wanted and {free_bytes} are free")]
pub struct Shortfall {
    pub wanted_bytes: u64,
    pub free_bytes: u64,
}

impl Ledger {
    pub fn new(ceiling_bytes: u64) -> Self {
        Self { ceiling_bytes, held: BTreeMap::new(), used_bytes: 0, peak_bytes: 0 }
    }

    /// Holds `bytes` for one side of an agent; what it held before is replaced. Nothing changes on a shortfall.
    pub fn reserve(&mut self, agent: &AgentName, side: Side, bytes: u64) -> Result<(), Shortfall> {
        let key = (agent.clone(), side);
        let before = self.held.get(&key).copied().unwrap_or(0);
        let free_bytes = self.ceiling_bytes - (self.used_bytes - before);
        if bytes > free_bytes {
            return Err(Shortfall { wanted_bytes: bytes, free_bytes });
        }
        self.used_bytes = self.used_bytes - before + bytes;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
        self.held.insert(key, bytes);
        Ok(())
    }

    /// Gives back what the side held; zero if it held nothing.
    pub fn release(&mut self, agent: &AgentName, side: Side) -> u64 {
        let bytes = self.held.remove(&(agent.clone(), side)).unwrap_or(0);
        self.used_bytes -= bytes;
        bytes
    }

    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    pub fn free_bytes(&self) -> u64 {
        self.ceiling_bytes - self.used_bytes
    }

    /// The most that was ever held at once.
    pub fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a model that keeps nothing but the list of what is held.
        #[test]
        fn never_above_the_ceiling_and_gives_back_what_it_took(
            ceiling in 0u64..2000,
            steps in prop::collection::vec((0u8..6, any::<bool>(), prop::option::of(0u64..700)), 0..200),
        ) {
            let mut ledger = Ledger::new(ceiling);
            let mut model: BTreeMap<(u8, Side), u64> = BTreeMap::new();
            let mut peak = 0;
            for (who, green, bytes) in steps {
                let agent = AgentName::new(format!("agent-{who}"));
                let side = if green { Side::Green } else { Side::Blue };
                let others: u64 = model.iter().filter(|(key, _)| **key != (who, side)).map(|(_, held)| held).sum();
                match bytes {
                    Some(bytes) => {
                        let fits = others + bytes <= ceiling;
                        prop_assert_eq!(ledger.reserve(&agent, side, bytes).is_ok(), fits);
                        if fits {
                            model.insert((who, side), bytes);
                        }
                    }
                    None => {
                        prop_assert_eq!(ledger.release(&agent, side), model.remove(&(who, side)).unwrap_or(0));
                    }
                }
                let used: u64 = model.values().sum();
                peak = peak.max(used);
                prop_assert_eq!(ledger.used_bytes(), used);
                prop_assert!(ledger.used_bytes() <= ceiling);
                prop_assert_eq!(ledger.free_bytes(), ceiling - used);
                prop_assert_eq!(ledger.peak_bytes(), peak);
            }
        }
    }
}
