//! A fleet under the demo's traffic, fault by fault: who fires, and how soon. All triggers are on, so that a fault is
//! also shown to raise nothing else before the right alarm.

use std::collections::BTreeMap;

use super::{tests::*, *};
use crate::{
    analysis::Window,
    observation::{Cell, Second},
    time::Millis,
};

const AGENTS: usize = 131;
const GREENS: usize = 13;
const TASKS_PER_SECOND: usize = 30;
/// Seconds of the watch before the cutover.
const BEFORE: u64 = 20;

/// What is wrong with green.
#[derive(Clone, Copy, Debug, Default)]
struct Fault {
    /// Share of its tasks that fail, and whether each of them is an empty answer.
    failing: f64,
    empty: bool,
    slower: f64,
    hangs: bool,
}

const WELL: Fault = Fault { failing: 0.002, empty: false, slower: 1.0, hangs: false };

/// A small generator, so that each run is the same on every machine (Knuth's MMIX constants).
struct Chance(u64);

impl Chance {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Log-normal around 60 ms with σ 0.6, as generations are.
    fn micros(&mut self) -> f64 {
        let normal: f64 = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        60_000.0 * (0.6 * normal).exp()
    }
}

struct Fleet {
    chance: Chance,
    streaks: BTreeMap<usize, u64>,
    silent_since: Option<u64>,
}

impl Fleet {
    fn new(seed: u64) -> Self {
        Self { chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), streaks: BTreeMap::new(), silent_since: None }
    }

    /// One second of it, with the first agents on green from `green_from` on.
    fn second(&mut self, number: u64, green_from: u64, fault: Fault) -> Second {
        let green = |agent: usize| agent <= GREENS && number >= green_from;
        let mut cells: BTreeMap<usize, Cell> = BTreeMap::new();
        for _ in 0..TASKS_PER_SECOND {
            let agent = 1 + (self.chance.share() * AGENTS as f64) as usize;
            let (side, fault) = if green(agent) { (Side::Green, fault) } else { (Side::Blue, WELL) };
            if fault.hangs {
                continue;
            }
            let cell = cells.entry(agent).or_insert_with(|| cell(&format!("a{agent}"), side, 0, 0));
            let streak = self.streaks.entry(agent).or_default();
            let failed = self.chance.share() < fault.failing;
            cell.signs.trials += u64::from(*streak == 0);
            cell.signs.onsets += u64::from(*streak == 0 && failed);
            cell.calls.succeeded += 1;
            if failed {
                *streak += 1;
                cell.tasks.failed += 1;
                cell.signs.empty += u64::from(fault.empty);
            } else {
                *streak = 0;
                cell.tasks.completed += 1;
            }
            let micros = (self.chance.micros() * fault.slower) as u64;
            cell.tasks.own_time.record(micros);
            cell.tasks.lease_time.record(micros);
            cell.signs.streak = *streak;
        }
        if fault.hangs && number >= green_from {
            let since = *self.silent_since.get_or_insert(number);
            for agent in 1..=GREENS {
                let mut cell = cell(&format!("a{agent}"), Side::Green, 0, 0);
                cell.signs.quiet_ms = (number - since) * 1000;
                cells.insert(agent, cell);
            }
        }
        Second { probes: 1, ..second(number, cells.into_values().collect()) }
    }

    fn watched(&mut self) -> Watch {
        let bench = Bench::new(AGENTS);
        let mut window = Window::default();
        for number in 1..=20 {
            window.second(&self.second(number, u64::MAX, WELL), &|agent| bench.roster.type_of(agent).cloned());
        }
        Watch::new(&WatchSetup {
            agents: bench.agents.clone(),
            triggers: &bench.triggers,
            error_margin: 0.001,
            baseline: &Baseline::new(window, Millis::from_secs(20)).unwrap(),
            memory_capacity_bytes: 0,
            memory_limits: BTreeMap::new(),
        })
    }
}

/// The first alarm of a fleet whose green has this fault from its first second on, and how long after it.
fn detected(seed: u64, fault: Fault) -> Option<(u64, Alarm)> {
    let mut fleet = Fleet::new(seed);
    let mut watch = fleet.watched();
    let from = 21 + BEFORE;
    (21..from + 120).find_map(|number| {
        let second = fleet.second(number, from, fault);
        let alarm = watch.second(&second, 0).into_iter().next()?;
        Some((number.saturating_sub(from), alarm))
    })
}

/// Runs of which the first alarm is of `kind`, names no shared fault, and comes within what [`reach`] says of 95 of 100.
fn seen_in_time(fault: Fault, class: FaultClass, kind: AlarmKind) {
    let mut took = Vec::new();
    for seed in 1..=20 {
        let (seconds, alarm) = detected(seed, fault).unwrap();
        assert!(alarm.kind == kind && !alarm.shared, "after {seconds} s: {}", alarm.why);
        took.push(seconds);
    }
    took.sort_unstable();
    let traffic = Traffic {
        calls_per_second: TASKS_PER_SECOND as f64,
        green_share: GREENS as f64 / AGENTS as f64,
        green_agents: GREENS as u32,
        base_error_rate: WELL.failing,
        error_margin: 0.001,
        task_time: Millis(60),
        task_time_max: Millis(900),
        boot: Millis::from_secs(1),
        crash_loop: 3,
    };
    let promised = reach(&Triggers::default(), &traffic).into_iter().find(|reach| reach.class == class).unwrap();
    assert!(promised.reached && took[18] as f64 <= promised.seconds.unwrap(), "{promised:?}, but it took {took:?} s");
}

#[test]
fn errors_of_thirty_percent() {
    seen_in_time(Fault { failing: 0.3, ..WELL }, FaultClass::Errors, AlarmKind::Errors);
}

#[test]
fn three_times_as_slow() {
    seen_in_time(Fault { slower: 3.0, ..WELL }, FaultClass::Latency, AlarmKind::Latency);
}

#[test]
fn empty_answers() {
    seen_in_time(Fault { failing: 1.0, empty: true, ..WELL }, FaultClass::EmptyAnswers, AlarmKind::Errors);
}

#[test]
fn a_hang() {
    seen_in_time(Fault { hangs: true, ..WELL }, FaultClass::Hang, AlarmKind::NoProgress);
}

#[test]
fn a_healthy_green_raises_nothing() {
    let fired: Vec<_> = (1..=20).filter_map(|seed| detected(seed, WELL)).collect();
    assert!(fired.is_empty(), "{fired:?}");
}
