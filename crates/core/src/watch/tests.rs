//! What the tests of the triggers share, and what holds for all of them on any input.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    analysis::{AgentUsage, Window},
    observation::{Calls, Cell, Pushes, Signs, Tasks},
    spec::{OnSharedFault, Progress as Policy, Scope},
    time::Millis,
};

/// A fleet of agents `a1`, `a2`, … of the types `odd` and `even`, and what they are watched by.
pub(super) struct Bench {
    pub(super) agents: Vec<(AgentName, AgentType, ModelName)>,
    pub(super) triggers: Triggers,
    pub(super) capacity: u64,
    pub(super) memory_limits: BTreeMap<AgentName, u64>,
    /// Of each agent in the baseline.
    pub(super) blue_memory: u64,
    pub(super) task_micros: u64,
    pub(super) quiet_ms: u64,
    pub(super) roster: Roster,
}

impl Bench {
    pub(super) fn new(agents: usize) -> Self {
        let kind = |number: usize| if number % 2 == 1 { "odd" } else { "even" };
        let agent = |number: usize| (format!("a{number}").as_str().into(), kind(number).into(), ModelName::new("m"));
        let agents: Vec<_> = (1..=agents).map(agent).collect();
        Self {
            roster: Roster::new(&agents),
            agents,
            triggers: Triggers::default(),
            capacity: 1 << 30,
            memory_limits: BTreeMap::new(),
            blue_memory: 0,
            task_micros: 60_000,
            quiet_ms: 900,
        }
    }

    /// Builds from the setup: five tasks of each agent in each of 20 s.
    pub(super) fn with<T>(&self, build: impl FnOnce(&WatchSetup<'_>) -> T) -> T {
        let mut window = Window::default();
        for number in 1..=20 {
            let cell = |(agent, _, _): &(AgentName, AgentType, ModelName)| {
                let mut cell = cell(agent.as_str(), Side::Blue, 5, 0);
                (0..5).for_each(|_| cell.tasks.own_time.record(self.task_micros));
                (0..5).for_each(|_| cell.tasks.lease_time.record(self.task_micros));
                cell.signs.quiet_ms = self.quiet_ms;
                cell
            };
            window.second(&second(number, self.agents.iter().map(cell).collect()), &|agent| {
                self.roster.type_of(agent).cloned()
            });
            let usage = |(agent, _, _): &(AgentName, AgentType, ModelName)| AgentUsage {
                agent: agent.clone(),
                side: Side::Blue,
                memory_bytes: self.blue_memory,
                cpu_cores: 0.01,
            };
            window.usage(&self.agents.iter().map(usage).collect::<Vec<_>>());
        }
        build(&WatchSetup {
            agents: self.agents.clone(),
            triggers: &self.triggers,
            error_margin: 0.001,
            baseline: &Baseline::new(window, Millis::from_secs(20)).unwrap(),
            memory_capacity_bytes: self.capacity,
            memory_limits: self.memory_limits.clone(),
        })
    }

    pub(super) fn watch(&self) -> Watch {
        self.with(Watch::new)
    }
}

pub(super) fn roster(agents: usize) -> Roster {
    Bench::new(agents).roster
}

pub(super) fn second(number: u64, cells: Vec<Cell>) -> Second {
    Second { number, at: UnixMillis(1_700_000_000_000 + number * 1000), cells, ..Second::default() }
}

pub(super) fn cell(agent: &str, side: Side, completed: u64, failed: u64) -> Cell {
    Cell {
        agent: agent.into(),
        model: ModelName::new("m"),
        drawn: side,
        served: side,
        tasks: Tasks { completed, failed, ..Tasks::default() },
        calls: Calls::default(),
        pushes: Pushes::default(),
        signs: Signs::default(),
    }
}

/// As [`cell`], where each failure comes by itself.
pub(super) fn tried(agent: &str, side: Side, completed: u64, failed: u64) -> Cell {
    let mut cell = cell(agent, side, completed, failed);
    (cell.signs.trials, cell.signs.onsets) = (completed + failed, failed);
    cell
}

pub(super) fn usage(agent: &str, side: Side, memory_bytes: u64, cpu_cores: f64) -> InstanceUsage {
    InstanceUsage { agent: agent.into(), side, memory_bytes, cpu_cores: Some(cpu_cores) }
}

#[test]
fn an_hour_of_a_healthy_fleet_is_quiet() {
    let mut watch = Bench::new(6).watch();
    for number in 1..=3600_u64 {
        let cells = (1..=6).map(|i| {
            let side = if i <= 2 { Side::Green } else { Side::Blue };
            // One failure in 500 outcomes, one trip a minute, polls every five seconds.
            let mut cell = tried(&format!("a{i}"), side, 2, u64::from((number + i) % 250 == 0));
            cell.signs.quiet_ms = number % 5 * 1000;
            cell.signs.trips = u64::from(i == 1 && number % 60 == 0);
            cell.calls.succeeded = 2;
            cell
        });
        let mut second = second(number, cells.collect());
        second.probes = 1;
        second.probes_failed = u32::from(number % 100 == 0);
        assert_eq!(watch.second(&second, 0), []);
        let beat = UsageBeat { at: second.at, cpus: 2, instances: vec![usage("a1", Side::Green, 1 << 20, 1.5)] };
        assert_eq!(watch.usage(&beat), []);
    }
}

#[test]
fn a_record_that_comes_twice_counts_once() {
    let mut watch = Bench::new(2).watch();
    let mut tripped = cell("a1", Side::Green, 1, 0);
    tripped.signs.trips = 3;
    let record = second(1, vec![tripped]);
    assert_eq!(watch.second(&record, 0), []);
    assert_eq!(watch.second(&record, 0), [], "three again would be six");
}

prop_compose! {
    fn any_count()(small in 0u64..20, huge: u64, pick in 0..10) -> u64 {
        if pick == 0 { huge } else { small }
    }
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Blue), Just(Side::Green)]
}

prop_compose! {
    fn any_cell()(
        agent in 0..5, drawn in side(), served in side(),
        n in prop::collection::vec(any_count(), 20),
    ) -> Cell {
        let mut cell = cell(&format!("a{agent}"), served, n[0], n[1]);
        cell.drawn = drawn;
        cell.tasks.lost_leases = n[2];
        cell.tasks.own_time.record(n[3]);
        (cell.calls.succeeded, cell.calls.failed, cell.calls.unreachable) = (n[4], n[5], n[6]);
        (cell.pushes.succeeded, cell.pushes.failed, cell.pushes.refused) = (n[7], n[8], n[9]);
        cell.signs = Signs {
            trials: n[10], onsets: n[11], streak: n[12], empty: n[13],
            stalled_ms: n[14].saturating_mul(1000), quiet_ms: n[15].saturating_mul(1000),
            trips: n[16], reported_trips: n[17],
        };
        cell
    }
}

prop_compose! {
    fn any_second()(
        number in prop_oneof![0u64..100, Just(u64::MAX)], at: u64, probes: u32, probes_failed: u32,
        cells in prop::collection::vec(any_cell(), 0..6), phase in 0usize..3,
    ) -> (Second, usize) {
        (Second { number, at: UnixMillis(at), cells, probes, probes_failed, ..Second::default() }, phase)
    }
}

prop_compose! {
    fn any_beat()(
        at: u64, cpus: u32,
        instances in prop::collection::vec((0..5, side(), any_count(), prop::option::of(any::<f64>())), 0..6),
    ) -> UsageBeat {
        let instance = |(agent, side, memory_bytes, cpu_cores)| {
            InstanceUsage { agent: format!("a{agent}").as_str().into(), side, memory_bytes, cpu_cores }
        };
        UsageBeat { at: UnixMillis(at), cpus, instances: instances.into_iter().map(instance).collect() }
    }
}

prop_compose! {
    fn any_check()(at: u64, instance: u64, agent in 0..5, side in side(), fault in prop::option::of(".*")) -> HealthCheck {
        HealthCheck { at: UnixMillis(at), instance: InstanceId(instance), agent: format!("a{agent}").as_str().into(), side, fault }
    }
}

prop_compose! {
    fn any_triggers()(
        shares in prop::collection::vec(prop::option::of(prop_oneof![0.0..2.0_f64, any::<f64>()]), 6),
        health_failures in prop::option::of(any::<u32>()), cpu_for: u64, progress in prop_oneof![
            Just(Policy::Off), Just(Policy::Auto), any::<u64>().prop_map(|ms| Policy::After(Millis(ms)))
        ],
        narrow: bool,
    ) -> Triggers {
        Triggers {
            memory: shares[0], cpu: shares[1], cpu_for: Millis(cpu_for), errors: shares[2], latency: shares[3],
            model_failures: shares[4], breaker_trips: shares[5], health_failures, progress,
            on_shared_fault: OnSharedFault::Hold,
            scope: if narrow { Scope::Agent } else { Scope::Rollout },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_panics_and_the_same_input_raises_the_same_alarms(
        triggers in any_triggers(),
        capacity in any_count(),
        seconds in prop::collection::vec(any_second(), 0..30),
        beats in prop::collection::vec(any_beat(), 0..10),
        checks in prop::collection::vec(any_check(), 0..10),
    ) {
        let mut bench = Bench::new(3);
        bench.memory_limits = [("a1".into(), capacity)].into();
        (bench.triggers, bench.capacity) = (triggers, capacity);
        let run = || {
            let mut watch = bench.watch();
            let mut said: Vec<String> = Vec::new();
            let mut alarms = Vec::new();
            for (second, phase) in &seconds {
                alarms.extend(watch.second(second, *phase));
                said.extend(watch.fault_of_blue());
            }
            beats.iter().for_each(|beat| alarms.extend(watch.usage(beat)));
            checks.iter().for_each(|check| alarms.extend(watch.health(check)));
            said.extend(watch.fault_of_blue());
            said.extend(alarms.iter().map(|alarm| format!("{alarm:?}")));
            (said, alarms)
        };
        let (said, alarms) = run();
        prop_assert_eq!(said, run().0);
        for alarm in alarms {
            prop_assert!(!alarm.why.is_empty() && !alarm.why.contains('\n'));
            prop_assert!(alarm.agents.iter().all(|agent| ["a1", "a2", "a3"].contains(&agent.as_str())));
        }
    }
}
