//! One-second records as a gateway would have written them.

use std::collections::BTreeMap;

use bellwether_core::{
    id::Side,
    observation::{Calls, Cell, Pushes, Second, Signs, Tasks},
    time::{Millis, UnixMillis},
};

use super::fleet::{Agent, FleetKind, Stages};
use crate::chance::Chance;

/// What is wrong with green.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// So many tasks fail, each for itself.
    Errors(f64),
    /// Tasks take so many times as long.
    Latency(f64),
    /// Tasks complete with nothing in them.
    Swallow,
    /// Takes a task and never comes back.
    Hang,
    /// Nobody reaches the model server, blue neither.
    ModelServerDown,
}

/// Base rate of errors, and how long a burst of them is.
const BASE: f64 = 0.002;
const BURST: f64 = 3.0;
/// Spread of a task's time, and of the agents' own speeds, as standard deviations of logarithms.
const TASK_SIGMA: f64 = 0.6;
const AGENT_SIGMA: f64 = 0.15;
/// The wall clock of the first record.
const EPOCH_MS: u64 = 1_700_000_000_000;

pub(super) struct Traffic<'a> {
    fleet: &'a FleetKind,
    agents: Vec<Agent>,
    fault: Fault,
    /// From here on every green is faulty.
    from_phase: usize,
    chance: Chance,
    speed: Vec<f64>,
    /// Failures in a row, by agent and side: a side begins afresh.
    streaks: BTreeMap<(usize, Side), u64>,
    /// Hung greens, and since when.
    hung: BTreeMap<usize, u64>,
    /// Tasks that end later: second → agent, side, its time.
    pending: BTreeMap<u64, Vec<(usize, Side, u64)>>,
    drift: f64,
    number: u64,
    harm_began_ms: Option<u64>,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(fleet: &'a FleetKind, agents: &[Agent], (fault, from_phase): (Fault, usize), seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let speed = agents.iter().map(|_| as_ratio(chance.log_normal(Millis(100_000), AGENT_SIGMA))).collect();
        Self {
            fleet,
            agents: agents.to_vec(),
            fault,
            from_phase,
            chance,
            speed,
            streaks: BTreeMap::new(),
            hung: BTreeMap::new(),
            pending: BTreeMap::new(),
            drift: 0.0,
            number: 0,
            harm_began_ms: None,
        }
    }

    /// When the first harmful outcome of the fault was.
    pub(super) fn harm_began_ms(&self) -> Option<u64> {
        self.harm_began_ms
    }

    /// The next second; `at` counts from the end of the baseline.
    pub(super) fn second(&mut self, stages: &Stages, at: Option<u64>) -> Second {
        self.number += 1;
        let now = UnixMillis(EPOCH_MS + self.number * 1000);
        let mut cells: BTreeMap<(usize, Side), Cell> = BTreeMap::new();
        self.drift = 0.995 * self.drift + 0.01 * self.normal();
        self.arrive(stages, at, now);
        for (agent, side, micros) in self.pending.remove(&self.number).unwrap_or_default() {
            let sick = side == Side::Green && self.is_sick(stages, at);
            self.end(agent, side, micros, sick, now, cell(&mut cells, &self.agents, agent, side));
        }
        for (agent, since) in self.hung.clone() {
            let quiet = (self.number - since) * 1000;
            let signs = &mut cell(&mut cells, &self.agents, agent, Side::Green).signs;
            (signs.stalled_ms, signs.quiet_ms) = (quiet, quiet);
        }
        let down = self.is_sick(stages, at) && self.fault == Fault::ModelServerDown;
        if down {
            self.harm_began_ms.get_or_insert(now.0);
        }
        let cells = cells.into_values().collect();
        Second { number: self.number, at: now, cells, probes: 1, probes_failed: u32::from(down), ..Second::default() }
    }

    fn arrive(&mut self, stages: &Stages, at: Option<u64>, now: UnixMillis) {
        let mut left = self.chance.exponential(self.mean_gap());
        while left < Millis(1000) {
            left = left + self.chance.exponential(self.mean_gap());
            let agent = self.chance.below(self.agents.len());
            let side = if stages.is_green(agent, at) { Side::Green } else { Side::Blue };
            let sick = side == Side::Green && self.is_sick(stages, at);
            if sick && self.fault == Fault::Hang {
                if !self.hung.contains_key(&agent) {
                    self.hung.insert(agent, self.number);
                    self.harm_began_ms.get_or_insert(now.0);
                }
                continue;
            }
            let time = self.chance.log_normal(Millis(self.fleet.task_ms * 1000), TASK_SIGMA);
            let slower = match self.fault {
                Fault::Latency(times) if sick => {
                    self.harm_began_ms.get_or_insert(now.0);
                    times
                }
                _ => 1.0,
            };
            let micros = scaled(time.0, self.speed[agent] * self.drift.exp() * slower);
            self.pending.entry(self.number + micros / 1_000_000).or_default().push((agent, side, micros));
        }
    }

    /// The revision is bad from a phase on, in every agent that runs it.
    fn is_sick(&self, stages: &Stages, at: Option<u64>) -> bool {
        self.fault != Fault::None && at.is_some_and(|at| stages.phase(at) >= self.from_phase)
    }

    fn end(&mut self, agent: usize, side: Side, micros: u64, sick: bool, now: UnixMillis, cell: &mut Cell) {
        let streak = self.streaks.entry((agent, side)).or_default();
        let chance = match (self.fault, sick) {
            (Fault::Errors(share), true) => share,
            (Fault::Swallow, true) => 1.0,
            _ if *streak > 0 => 1.0 - 1.0 / BURST,
            _ => BASE / BURST,
        };
        let failed = self.chance.hit(chance);
        if sick && failed {
            self.harm_began_ms.get_or_insert(now.0);
        }
        if *streak == 0 {
            cell.signs.trials += 1;
            cell.signs.onsets += u64::from(failed);
        }
        *streak = if failed { *streak + 1 } else { 0 };
        cell.signs.streak = *streak;
        if failed {
            cell.tasks.failed += 1;
            cell.signs.empty += u64::from(sick && self.fault == Fault::Swallow);
        } else {
            cell.tasks.completed += 1;
        }
        cell.tasks.own_time.record(micros);
        cell.tasks.lease_time.record(micros);
    }

    fn mean_gap(&self) -> Millis {
        Millis(scaled(1000, 1.0 / self.fleet.rate).max(1))
    }

    fn normal(&mut self) -> f64 {
        as_ratio(self.chance.log_normal(Millis(100_000), 1.0)).ln()
    }
}

fn cell<'c>(cells: &'c mut BTreeMap<(usize, Side), Cell>, agents: &[Agent], agent: usize, side: Side) -> &'c mut Cell {
    cells.entry((agent, side)).or_insert_with(|| Cell {
        agent: agents[agent].0.clone(),
        model: agents[agent].2.clone(),
        drawn: side,
        served: side,
        tasks: Tasks::default(),
        calls: Calls::default(),
        pushes: Pushes::default(),
        signs: Signs::default(),
    })
}

fn as_ratio(millis: Millis) -> f64 {
    millis.as_secs_f64() / 100.0
}

fn scaled(value: u64, factor: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times of simulated tasks, and a cast that saturates"
    )]
    let scaled = (value as f64 * factor) as u64;
    scaled
}
