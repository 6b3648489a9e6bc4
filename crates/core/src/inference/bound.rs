//! The longest that a call can wait for a slot, as a formula of what is known beforehand.
//!
//! With `S` slots, a call of class rank `c` waits no longer than
//!
//! ```text
//! c · ageing                                   until nothing precedes it by class
//!   + turns · M · (5/4 · quantum + call + load) + load     with M > 1 runners in demand
//!   or ahead / S + 2 · call + load                         with one runner
//!
//! ahead = W · debt + n · (2·S − 1) · call      slot time of the n other agents of its runner, of weight W together
//!       + k · S · call · (1 + W / w)           its own agent's k calls before it, w being that agent's weight
//! turns = 1 + ⌈ahead / (S · quantum / 4)⌉
//! debt  = 2 · S · call / w                     the most that its agent can owe when it asks
//! ```
//!
//! Where the terms come from. An agent that asks owes at most two longest calls that held all slots: less, and agents that
//! ask all the time would not share by weight, as one of them may pass the others by so much with what it has in flight.
//! Every other agent may use so much for its weight before it ranks behind; the call with which it passes that mark may
//! hold all slots, and slots may stand idle for one call while they are gathered for it. Each own call before it lets the
//! others catch up with what that one used. A turn lasts for its quantum, then one call is waited for and the next model
//! loaded; quanta of all runners together are at most 5/4 of M quanta, and none is shorter than a quarter of one.
//!
//! It holds for one model server of which calls and loads take no longer than is said here. A second server only makes
//! waits shorter.

use super::{Class, Limits};
use crate::time::Millis;

/// What a wait depends on beside the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    pub class: Class,
    /// Runners that calls wait for, or that are loaded.
    pub runners: u32,
    /// Other agents that have calls for the same runner, and their weights together.
    pub others: u32,
    pub others_weight: u64,
    /// Of the agent that waits.
    pub weight: u32,
    /// Calls of the same agent that are before it or in flight.
    pub own_ahead: u32,
    /// The longest call, from its grant to its end.
    pub call: Millis,
    /// The longest load of a model.
    pub load: Millis,
}

impl Limits {
    /// Slot time that an agent can owe when it asks, where no call takes longer.
    pub(super) fn debt_max(&self, call: Millis) -> Millis {
        let slots = self.slots.iter().copied().max().unwrap_or(1).max(1);
        Millis(call.0.saturating_mul(2 * u64::from(slots)))
    }

    /// In virtual time and on a server of its own, no call waits longer.
    pub fn wait_max(&self, demand: &Demand) -> Millis {
        let Demand { class, runners, others, others_weight, weight, own_ahead, call, load } = *demand;
        let slots = u64::from(self.slots.iter().copied().min().unwrap_or(1).max(1));
        let (call, load, quantum) = (call.0, load.0, self.quantum.0);
        let weight = u64::from(weight.max(1));
        let debt = self.debt_max(Millis(call)).0.div_ceil(weight);
        let others_ahead = others_weight * debt + u64::from(others) * (2 * slots - 1) * call;
        let caught_up = (call * slots).saturating_mul(weight + others_weight).div_ceil(weight);
        let ahead = others_ahead.saturating_add(u64::from(own_ahead).saturating_mul(caught_up));
        let aged = class.rank() * self.ageing.0;
        let served = if runners > 1 {
            let turns = 1 + ahead.div_ceil((slots * quantum / 4).max(1));
            let cycle = u64::from(runners) * (quantum * 5 / 4 + call + load);
            turns.saturating_mul(cycle).saturating_add(load)
        } else {
            ahead.div_ceil(slots).saturating_add(2 * call + load)
        };
        Millis(aged.saturating_add(served))
    }
}
