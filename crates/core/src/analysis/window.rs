//! What a span of time adds up to: outcomes per agent and drawn side, levels of memory and CPU, availability.
//!
//! Made from one-second records in the order of their numbers; a record that comes twice counts once. Memory is
//! bounded by the fleet, never by the length of the span. Sums saturate instead of overflowing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{exact::real, ladder::Ladder};
use crate::{
    histogram::Histogram,
    id::{AgentName, AgentType, Side},
    observation::{Cell, Second},
};

/// Distinct agents beyond this are not counted: no fleet is as large, so they are noise or an attack.
const AGENTS_MAX: usize = 1 << 17;
/// A histogram that would hold more takes no more. Exact in `f64`.
const SAMPLES_MAX: u64 = 1 << 53;

/// Sums over a span of seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    seconds: u64,
    missed: u64,
    last_second: u64,
    queued_first: Option<u64>,
    queued_last: u64,
    unknown: u64,
    given_up: u64,
    agents: BTreeMap<AgentName, Sides<Tally>>,
    types: BTreeMap<AgentName, AgentType>,
    levels: BTreeMap<AgentName, Sides<Levels>>,
    availability: Availability,
}

/// One value for each side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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

    fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Blue => &mut self.blue,
            Side::Green => &mut self.green,
        }
    }
}

/// What one instance used, as the controller works it out from two samples of the driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentUsage {
    pub agent: AgentName,
    pub side: Side,
    /// Proportional set size. Zero means that it could not be read, and is not counted.
    pub memory_bytes: u64,
    /// CPU time over wall time since the last sample.
    pub cpu_cores: f64,
}

impl Window {
    /// Adds a closed second. `type_of` names the type of each agent of the fleet; what belongs to any other agent
    /// is counted apart and judged nowhere. Records up to the last number seen are ignored.
    pub fn second(&mut self, second: &Second, type_of: &dyn Fn(&AgentName) -> Option<AgentType>) {
        if self.seconds > 0 && second.number <= self.last_second {
            return;
        }
        if self.seconds > 0 {
            self.missed = self.missed.saturating_add(second.number - self.last_second - 1);
        }
        self.seconds = self.seconds.saturating_add(1);
        self.last_second = second.number;
        self.queued_first.get_or_insert(second.tasks_queued);
        self.queued_last = second.tasks_queued;
        for cell in &second.cells {
            let Some(agent_type) = type_of(&cell.agent).filter(|_| room(&self.agents, &cell.agent)) else {
                self.unknown = self.unknown.saturating_add(1);
                continue;
            };
            self.types.entry(cell.agent.clone()).or_insert(agent_type);
            self.agents.entry(cell.agent.clone()).or_default().of_mut(cell.drawn).count(cell);
        }
    }

    /// Adds one sample of memory and CPU for each instance that runs.
    pub fn usage(&mut self, sample: &[AgentUsage]) {
        for usage in sample {
            if room(&self.levels, &usage.agent) {
                self.levels.entry(usage.agent.clone()).or_default().of_mut(usage.side).count(usage);
            }
        }
    }

    /// Adds one sample per second: how many agents there are, and how many of them had no ready instance.
    pub fn availability(&mut self, agents: u32, without_ready_instance: u32) {
        if agents > 0 {
            self.availability.samples = self.availability.samples.saturating_add(1);
            self.availability.whole = self.availability.whole.saturating_add(u64::from(without_ready_instance == 0));
        }
    }

    /// Adds tasks that the gateway gave up after their last attempt.
    pub fn given_up(&mut self, tasks: u64) {
        self.given_up = self.given_up.saturating_add(tasks);
    }

    /// Records that went in.
    pub fn seconds(&self) -> u64 {
        self.seconds
    }

    /// Records that should have been between those that went in.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The number of the last record that went in; 0 before the first.
    pub fn last_second(&self) -> u64 {
        self.last_second
    }

    /// Cells of agents that the fleet does not have.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// All outcomes of tasks and pushed requests that were drawn for `side`.
    pub fn tally(&self, side: Side) -> Tally {
        let mut sum = Tally::default();
        self.agents.values().for_each(|sides| sum.add(sides.of(side)));
        sum
    }

    /// Outcomes of one agent that were drawn for `side`.
    pub fn of_agent(&self, agent: &AgentName, side: Side) -> Option<&Tally> {
        self.agents.get(agent).map(|sides| sides.of(side))
    }

    /// The median over time of the memory that one agent used on `side`, in bytes.
    pub fn memory_of(&self, agent: &AgentName, side: Side) -> Option<f64> {
        self.levels.get(agent)?.of(side).memory_bytes(1)
    }

    pub(super) fn total(&self) -> Tally {
        let mut sum = self.tally(Side::Blue);
        sum.add(&self.tally(Side::Green));
        sum
    }

    pub(super) fn tasks_given_up(&self) -> u64 {
        self.given_up
    }

    /// How much longer the queue is at the end than after the first second.
    pub(super) fn queue_growth(&self) -> u64 {
        self.queued_last.saturating_sub(self.queued_first.unwrap_or(self.queued_last))
    }

    pub(super) fn by_type(&self) -> BTreeMap<&AgentType, Sides<Tally>> {
        let mut sums: BTreeMap<&AgentType, Sides<Tally>> = BTreeMap::new();
        for (agent, sides) in &self.agents {
            if let Some(agent_type) = self.types.get(agent) {
                let sum = sums.entry(agent_type).or_default();
                sum.blue.add(&sides.blue);
                sum.green.add(&sides.green);
            }
        }
        sums
    }

    pub(super) fn levels(&self) -> impl Iterator<Item = (&AgentName, &Sides<Levels>)> {
        self.levels.iter()
    }

    pub(super) fn level(&self, agent: &AgentName) -> Option<&Sides<Levels>> {
        self.levels.get(agent)
    }

    /// Availability samples, and those in which every agent had a ready instance.
    pub(super) fn available(&self) -> (u64, u64) {
        (self.availability.samples, self.availability.whole.min(self.availability.samples))
    }
}

fn room<T>(map: &BTreeMap<AgentName, T>, agent: &AgentName) -> bool {
    map.len() < AGENTS_MAX || map.contains_key(agent)
}

/// Outcomes of one agent, or of many, on one drawn side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub completed: u64,
    pub failed: u64,
    pub lost_leases: u64,
    pub pushes_succeeded: u64,
    /// Failed by the agent, or refused because no instance became ready.
    pub pushes_failed: u64,
    pub calls_succeeded: u64,
    pub calls_failed: u64,
    /// From lease to completion, less what the task's model calls waited for slots and loads; and pushed requests
    /// from start to end. Microseconds.
    pub response: Histogram,
    /// From lease to completion as the clock saw it. Microseconds.
    pub lease_time: Histogram,
    /// The longest time without a sign of the agent's main loop, in milliseconds.
    #[serde(default)]
    pub quiet_ms_max: u64,
}

impl Tally {
    /// Tasks and pushed requests that came to an end, and leases that came to none.
    pub fn outcomes(&self) -> u64 {
        self.done().saturating_add(self.errors())
    }

    /// Failed tasks, lost leases and failed pushes: a lost lease counts, because an agent that hangs loses them.
    pub fn errors(&self) -> u64 {
        self.failed.saturating_add(self.lost_leases).saturating_add(self.pushes_failed)
    }

    /// Completed tasks and answered pushes.
    pub fn done(&self) -> u64 {
        self.completed.saturating_add(self.pushes_succeeded)
    }

    pub(super) fn responses(&self) -> u64 {
        samples(&self.response)
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.completed, other.completed),
            (&mut self.failed, other.failed),
            (&mut self.lost_leases, other.lost_leases),
            (&mut self.pushes_succeeded, other.pushes_succeeded),
            (&mut self.pushes_failed, other.pushes_failed),
            (&mut self.calls_succeeded, other.calls_succeeded),
            (&mut self.calls_failed, other.calls_failed),
        ] {
            *sum = sum.saturating_add(more);
        }
        merge(&mut self.response, &other.response);
        merge(&mut self.lease_time, &other.lease_time);
        self.quiet_ms_max = self.quiet_ms_max.max(other.quiet_ms_max);
    }

    fn count(&mut self, cell: &Cell) {
        let Cell { tasks, calls, pushes, signs, .. } = cell;
        for (sum, more) in [
            (&mut self.completed, tasks.completed),
            (&mut self.failed, tasks.failed),
            (&mut self.lost_leases, tasks.lost_leases),
            (&mut self.pushes_succeeded, pushes.succeeded),
            (&mut self.pushes_failed, pushes.failed.saturating_add(pushes.refused)),
            (&mut self.calls_succeeded, calls.succeeded),
            (&mut self.calls_failed, calls.failed),
        ] {
            *sum = sum.saturating_add(more);
        }
        merge(&mut self.response, &tasks.own_time);
        merge(&mut self.response, &pushes.service);
        merge(&mut self.lease_time, &tasks.lease_time);
        self.quiet_ms_max = self.quiet_ms_max.max(signs.quiet_ms);
    }
}

/// Memory and CPU of one agent on one side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Levels {
    /// In KiB.
    memory: Histogram,
    cpu_sum: f64,
    cpu_samples: u64,
}

impl Levels {
    /// The median over time in bytes, if there are at least `samples_min` samples.
    pub(super) fn memory_bytes(&self, samples_min: u64) -> Option<f64> {
        let ladder = Ladder::of(&self.memory);
        if ladder.len() < samples_min { None } else { ladder.quantile(0.5).map(|kib| kib * 1024.0) }
    }

    /// The mean over time in cores. Not the median: an agent works in bursts, and in the median of an agent that is
    /// idle most of the time any rise of its cost would vanish.
    pub(super) fn cpu_cores(&self, samples_min: u64) -> Option<f64> {
        let mean = self.cpu_sum / real(self.cpu_samples);
        (self.cpu_samples >= samples_min.max(1) && mean.is_finite() && mean >= 0.0).then_some(mean)
    }

    fn count(&mut self, usage: &AgentUsage) {
        const CORES_MAX: f64 = 1e6;
        if usage.memory_bytes > 0 && samples(&self.memory) < SAMPLES_MAX {
            self.memory.record(usage.memory_bytes / 1024);
        }
        if (0.0..=CORES_MAX).contains(&usage.cpu_cores) && self.cpu_samples < SAMPLES_MAX {
            self.cpu_sum += usage.cpu_cores;
            self.cpu_samples += 1;
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Availability {
    samples: u64,
    whole: u64,
}

fn samples(histogram: &Histogram) -> u64 {
    histogram.iter().fold(0, |sum, (_, count)| sum.saturating_add(count))
}

fn merge(into: &mut Histogram, more: &Histogram) {
    if !more.is_empty() && samples(into).saturating_add(samples(more)) <= SAMPLES_MAX {
        into.merge(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::tests::cell, id::ModelName};

    fn second(number: u64, cells: Vec<Cell>) -> Second {
        Second { number, cells, ..Second::default() }
    }

    fn known(agent: &AgentName) -> Option<AgentType> {
        agent.as_str().starts_with('a').then(|| AgentType::from("t"))
    }

    #[test]
    fn a_record_that_comes_twice_counts_once() {
        let mut window = Window::default();
        let record = second(7, vec![cell("a1", Side::Green, 3, 1, 5_000)]);
        window.second(&record, &known);
        window.second(&record, &known);
        window.second(&second(10, vec![]), &known);
        assert_eq!((window.seconds(), window.missed(), window.last_second()), (2, 2, 10));
        assert_eq!((window.tally(Side::Green).completed, window.tally(Side::Green).errors()), (3, 1));
        assert_eq!(window.tally(Side::Blue), Tally::default());
    }

    #[test]
    fn what_the_fleet_does_not_have_is_judged_nowhere() {
        let mut window = Window::default();
        window.second(&second(1, vec![cell("stranger", Side::Green, 3, 1, 5_000)]), &known);
        assert_eq!((window.unknown(), window.total().outcomes()), (1, 0));
    }

    #[test]
    fn the_drawn_side_counts_not_the_serving_one() {
        let mut taken_over = cell("a1", Side::Green, 0, 1, 5_000);
        taken_over.served = Side::Blue;
        taken_over.model = ModelName::new("m");
        let mut window = Window::default();
        window.second(&second(1, vec![taken_over]), &known);
        assert_eq!((window.tally(Side::Green).errors(), window.tally(Side::Blue).errors()), (1, 0));
    }

    #[test]
    fn the_longest_pause_of_an_agent_is_kept() {
        let quiet = |agent: &str, quiet_ms| {
            let mut cell = cell(agent, Side::Blue, 1, 0, 5_000);
            cell.signs.quiet_ms = quiet_ms;
            cell
        };
        let mut window = Window::default();
        window.second(&second(1, vec![quiet("a1", 7_000), quiet("a2", 100)]), &known);
        window.second(&second(2, vec![quiet("a1", 50), quiet("a2", 900)]), &known);
        let longest = |agent: &str| window.of_agent(&agent.into(), Side::Blue).map(|tally| tally.quiet_ms_max);
        assert_eq!((longest("a1"), longest("a2"), longest("a3")), (Some(7_000), Some(900), None));
    }

    #[test]
    fn unreadable_usage_is_no_sample() {
        let mut window = Window::default();
        let usage =
            |memory_bytes, cpu_cores| AgentUsage { agent: "a1".into(), side: Side::Blue, memory_bytes, cpu_cores };
        window.usage(&[usage(0, f64::NAN), usage(0, -1.0), usage(1 << 20, 0.25), usage(3 << 20, 0.75)]);
        let levels = &window.level(&"a1".into()).unwrap().blue;
        assert_eq!(levels.cpu_cores(2), Some(0.5));
        assert_eq!(levels.cpu_cores(3), None);
        assert!((levels.memory_bytes(2).unwrap() / f64::from(1 << 20) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_window_survives_the_journal() {
        let mut window = Window::default();
        window.second(&second(7, vec![cell("a1", Side::Green, 3, 1, 5_000)]), &known);
        window.usage(&[AgentUsage { agent: "a1".into(), side: Side::Green, memory_bytes: 1 << 20, cpu_cores: 0.1 }]);
        let text = serde_json::to_string(&window).unwrap();
        assert_eq!(serde_json::from_str::<Window>(&text).unwrap(), window);
    }
}
