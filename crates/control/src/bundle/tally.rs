//! Sums of one-second records and of samples of memory and CPU, by side. Outcomes count for the side that they
//! were drawn for, as in the analysis; model calls for the side that made them.

use std::collections::BTreeMap;

use bellwether_core::{
    histogram::Histogram,
    id::{AgentName, Side},
    observation::{Cell, Second},
    time::{Millis, UnixMillis},
};

use crate::usage::Beat;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sides<T> {
    pub(super) blue: T,
    pub(super) green: T,
}

impl<T> Sides<T> {
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

/// What one side did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) completed: u64,
    /// Tasks and pushed requests that ended, well or not.
    pub(super) outcomes: u64,
    pub(super) errors: u64,
    pub(super) empty: u64,
    pub(super) own_time: Histogram,
    pub(super) calls: u64,
    pub(super) calls_failed: u64,
    pub(super) unreachable: u64,
    pub(super) trips: u64,
    pub(super) streak: u64,
    pub(super) silent_ms: u64,
}

impl Tally {
    fn outcomes_of(&mut self, cell: &Cell) {
        let (tasks, pushes) = (&cell.tasks, &cell.pushes);
        self.completed += tasks.completed;
        self.errors += tasks.failed + tasks.lost_leases + pushes.failed + pushes.refused;
        self.outcomes += tasks.completed + tasks.failed + tasks.lost_leases;
        self.outcomes += pushes.succeeded + pushes.failed + pushes.refused;
        self.own_time.merge(&tasks.own_time);
        self.own_time.merge(&pushes.service);
    }

    fn doings_of(&mut self, cell: &Cell) {
        let (calls, signs) = (&cell.calls, &cell.signs);
        self.calls += calls.succeeded + calls.failed;
        self.calls_failed += calls.failed;
        self.unreachable += calls.unreachable;
        self.empty += signs.empty;
        self.trips += signs.trips + signs.reported_trips;
        self.streak = self.streak.max(signs.streak);
        self.silent_ms = self.silent_ms.max(signs.stalled_ms).max(signs.quiet_ms);
    }
}

/// What a span of time adds up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) seconds: u64,
    pub(super) sides: Sides<Tally>,
    pub(super) slots_busy: u64,
    pub(super) slots_peak: u32,
    pub(super) waiting: u64,
    pub(super) waiting_peak: u32,
    pub(super) queued: u64,
    pub(super) queued_peak: u64,
    pub(super) probes: u64,
    pub(super) probes_failed: u64,
    /// Samples in which the side had an instance.
    pub(super) present: Sides<u64>,
    /// Sums over those samples, each of all instances of the side.
    pub(super) memory: Sides<f64>,
    pub(super) cores: Sides<f64>,
    pub(super) memory_peak: Sides<f64>,
}

impl Sum {
    pub(super) fn second(&mut self, second: &Second) {
        self.seconds += 1;
        self.slots_busy += u64::from(second.slots_busy);
        self.slots_peak = self.slots_peak.max(second.slots_peak);
        self.waiting += u64::from(second.calls_waiting);
        self.waiting_peak = self.waiting_peak.max(second.calls_waiting);
        self.queued += second.tasks_queued;
        self.queued_peak = self.queued_peak.max(second.tasks_queued);
        self.probes += u64::from(second.probes);
        self.probes_failed += u64::from(second.probes_failed);
        for cell in &second.cells {
            self.sides.of_mut(cell.drawn).outcomes_of(cell);
            self.sides.of_mut(cell.served).doings_of(cell);
        }
    }

    pub(super) fn beat(&mut self, beat: &Beat) {
        let mut memory = Sides::<f64>::default();
        for agent in &beat.agents {
            *memory.of_mut(agent.side) += super::words::real(agent.memory_bytes);
            *self.cores.of_mut(agent.side) += agent.cpu_cores.unwrap_or(0.0);
        }
        for side in [Side::Blue, Side::Green] {
            *self.present.of_mut(side) += u64::from(beat.agents.iter().any(|agent| agent.side == side));
            *self.memory.of_mut(side) += memory.of(side);
            *self.memory_peak.of_mut(side) = self.memory_peak.of(side).max(*memory.of(side));
        }
    }

    /// Of a level, over the samples in which the side had an instance.
    pub(super) fn mean(&self, level: &Sides<f64>, side: Side) -> Option<f64> {
        let present = *self.present.of(side);
        (present > 0).then(|| level.of(side) / super::words::real(present))
    }
}

/// Everything between two moments.
pub(super) fn sum(seconds: &[Second], beats: &[(UnixMillis, Beat)], from: UnixMillis, until: UnixMillis) -> Sum {
    let mut sum = Sum::default();
    for second in seconds.iter().filter(|second| (from..=until).contains(&second.at)) {
        sum.second(second);
    }
    for (_, beat) in beats.iter().filter(|(at, _)| (from..=until).contains(at)) {
        sum.beat(beat);
    }
    sum
}

/// The same cut into equal parts, for curves.
pub(super) fn buckets(
    seconds: &[Second],
    beats: &[(UnixMillis, Beat)],
    from: UnixMillis,
    width: Millis,
    count: usize,
) -> Vec<Sum> {
    let mut buckets = vec![Sum::default(); count];
    let index = |at: UnixMillis| {
        let index = at.0.checked_sub(from.0)? / width.0.max(1);
        usize::try_from(index).ok().filter(|&index| index < count)
    };
    for second in seconds {
        if let Some(index) = index(second.at) {
            buckets[index].second(second);
        }
    }
    for (at, beat) in beats {
        if let Some(index) = index(*at) {
            buckets[index].beat(beat);
        }
    }
    buckets
}

/// What one agent did and used.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AgentSum {
    pub(super) sides: Sides<Tally>,
    pub(super) memory_peak: Sides<u64>,
    pub(super) cores_peak: Sides<f64>,
}

pub(super) fn by_agent(
    seconds: &[Second],
    beats: &[(UnixMillis, Beat)],
    from: UnixMillis,
    until: UnixMillis,
) -> BTreeMap<AgentName, AgentSum> {
    let mut agents: BTreeMap<AgentName, AgentSum> = BTreeMap::new();
    for cell in seconds.iter().filter(|second| (from..=until).contains(&second.at)).flat_map(|second| &second.cells) {
        let sum = agents.entry(cell.agent.clone()).or_default();
        sum.sides.of_mut(cell.drawn).outcomes_of(cell);
        sum.sides.of_mut(cell.served).doings_of(cell);
    }
    for agent in beats.iter().filter(|(at, _)| (from..=until).contains(at)).flat_map(|(_, beat)| &beat.agents) {
        let sum = agents.entry(agent.agent.clone()).or_default();
        let memory = sum.memory_peak.of_mut(agent.side);
        *memory = (*memory).max(agent.memory_bytes);
        let cores = sum.cores_peak.of_mut(agent.side);
        *cores = cores.max(agent.cpu_cores.unwrap_or(0.0));
    }
    agents
}

#[cfg(test)]
mod tests {
    use bellwether_core::{
        id::ModelName,
        observation::{Calls, Pushes, Signs, Tasks},
    };

    use super::*;

    fn cell(drawn: Side, served: Side, failed: u64) -> Cell {
        Cell {
            agent: "a".into(),
            model: ModelName::new("m"),
            drawn,
            served,
            tasks: Tasks { failed, ..Tasks::default() },
            calls: Calls { failed: 1, ..Calls::default() },
            pushes: Pushes::default(),
            signs: Signs::default(),
        }
    }

    #[test]
    fn outcomes_follow_the_draw_and_calls_follow_the_caller() {
        let second = Second { cells: vec![cell(Side::Green, Side::Blue, 3)], ..Second::default() };
        let sum = sum(&[second], &[], UnixMillis(0), UnixMillis(0));
        assert_eq!((sum.sides.green.errors, sum.sides.green.calls_failed), (3, 0));
        assert_eq!((sum.sides.blue.errors, sum.sides.blue.calls_failed), (0, 1));
    }

    #[test]
    fn what_lies_outside_of_the_curves_is_left_out() {
        let at = |ms| Second { at: UnixMillis(ms), ..Second::default() };
        let seconds = [at(500), at(1000), at(1999), at(2000), at(9000)];
        let counts: Vec<u64> =
            buckets(&seconds, &[], UnixMillis(1000), Millis(1000), 2).iter().map(|b| b.seconds).collect();
        assert_eq!(counts, [2, 1]);
    }
}
