//! A second as the triggers read it: per agent and serving side, all of its cells together. Agents that the fleet
//! does not have are left out, which bounds everything that is kept per agent.

use std::collections::BTreeMap;

use crate::{
    id::{AgentName, Side},
    observation::{Cell, Second},
    time::UnixMillis,
};

use super::roster::Roster;

#[derive(Debug)]
pub(super) struct Digest {
    pub(super) number: u64,
    pub(super) at: UnixMillis,
    pub(super) probes: u64,
    pub(super) probes_failed: u64,
    agents: BTreeMap<AgentName, Both<Option<Sight>>>,
}

/// One value for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Both<T> {
    pub(super) blue: T,
    pub(super) green: T,
}

impl<T> Both<T> {
    pub(super) fn of(&self, side: Side) -> &T {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }

    pub(super) fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Blue => &mut self.blue,
            Side::Green => &mut self.green,
        }
    }
}

/// What one agent did in one second on one serving side.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sight {
    pub(super) good: u64,
    /// Failed tasks, lost leases, and pushes that failed or were refused.
    pub(super) errors: u64,
    /// Model calls that reached the model server or tried to, and those that found no connection.
    pub(super) calls: u64,
    pub(super) unreachable: u64,
    pub(super) trials: u64,
    pub(super) onsets: u64,
    pub(super) streak: u64,
    pub(super) empty: u64,
    pub(super) stalled_ms: u64,
    pub(super) quiet_ms: u64,
    /// Of the gateway's breaker and of the agent's own.
    pub(super) trips: u64,
}

impl Sight {
    pub(super) fn outcomes(&self) -> u64 {
        self.good.saturating_add(self.errors)
    }

    fn count(&mut self, cell: &Cell) {
        let Cell { tasks, calls, pushes, signs, .. } = cell;
        for (sum, more) in [
            (&mut self.good, &[tasks.completed, pushes.succeeded][..]),
            (&mut self.errors, &[tasks.failed, tasks.lost_leases, pushes.failed, pushes.refused]),
            (&mut self.calls, &[calls.succeeded, calls.failed]),
            (&mut self.unreachable, &[calls.unreachable.min(calls.failed)]),
            (&mut self.trials, &[signs.trials]),
            (&mut self.onsets, &[signs.onsets.min(signs.trials)]),
            (&mut self.empty, &[signs.empty]),
            (&mut self.trips, &[signs.trips, signs.reported_trips]),
        ] {
            *sum = more.iter().fold(*sum, |sum, &more| sum.saturating_add(more));
        }
        // Gauges of the agent and side, in whichever of its cells they stand.
        self.streak = self.streak.max(signs.streak);
        self.stalled_ms = self.stalled_ms.max(signs.stalled_ms);
        self.quiet_ms = self.quiet_ms.max(signs.quiet_ms);
    }
}

impl Digest {
    pub(super) fn new(second: &Second, roster: &Roster) -> Self {
        let mut agents: BTreeMap<AgentName, Both<Option<Sight>>> = BTreeMap::new();
        for cell in second.cells.iter().filter(|cell| roster.knows(&cell.agent)) {
            let sights = agents.entry(cell.agent.clone()).or_default();
            sights.of_mut(cell.served).get_or_insert_default().count(cell);
        }
        let probes = u64::from(second.probes);
        let probes_failed = u64::from(second.probes_failed).min(probes);
        Self { number: second.number, at: second.at, probes, probes_failed, agents }
    }

    /// Who was seen at work on `side`.
    pub(super) fn of(&self, side: Side) -> impl Iterator<Item = (&AgentName, &Sight)> {
        self.agents.iter().filter_map(move |(agent, sights)| Some((agent, sights.of(side).as_ref()?)))
    }

    pub(super) fn sum(&self, side: Side, of: impl Fn(&Sight) -> u64) -> u64 {
        self.of(side).fold(0, |sum, (_, sight)| sum.saturating_add(of(sight)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests::{cell, roster, second};

    #[test]
    fn cells_of_one_agent_and_serving_side_are_one_sight() {
        let mut taken_over = cell("a1", Side::Green, 2, 1);
        taken_over.drawn = Side::Blue;
        taken_over.signs.streak = 4;
        taken_over.calls.failed = 3;
        taken_over.calls.unreachable = 9;
        let digest = Digest::new(
            &second(1, vec![cell("a1", Side::Green, 1, 1), taken_over, cell("stranger", Side::Green, 5, 5)]),
            &roster(2),
        );
        let (agent, sight) = digest.of(Side::Green).next().unwrap();
        assert_eq!((agent.as_str(), sight.good, sight.errors, sight.streak), ("a1", 3, 2, 4));
        assert_eq!((sight.calls, sight.unreachable), (3, 3), "what could not be reached is part of what failed");
        assert_eq!((digest.of(Side::Green).count(), digest.of(Side::Blue).count()), (1, 0));
    }
}
