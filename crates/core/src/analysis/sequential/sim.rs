//! A simulated fleet that makes one-second records: bursts, agents and models of different speed, drift, skewed traffic.

use std::collections::BTreeMap;

use super::{Harm, Sequential, SequentialSetup};
use crate::{
    analysis::{Baseline, Window},
    id::{AgentName, AgentType, ModelName, Side},
    observation::{Calls, Cell, Pushes, Second, Signs, Tasks},
    time::{Millis, UnixMillis},
};

pub(super) const ALPHA: f64 = 0.008;

/// Sizes of the types of the seed's fleet: 131 agents.
const TYPES: [(&str, usize); 11] = [
    ("ai-ml", 23),
    ("orchestration", 13),
    ("optimization", 12),
    ("development", 15),
    ("data", 10),
    ("infrastructure", 9),
    ("utility", 8),
    ("system", 13),
    ("security", 11),
    ("management", 8),
    ("monitoring", 9),
];
const MODELS: [(&str, f64); 3] = [("tinyllama", 0.5), ("qwen2.5-coder:7b", 1.0), ("deepseek-r1:8b", 2.0)];
const SPREAD: f64 = 0.6;

/// A small generator (Marsaglia's xorshift with a multiplier), so that a seed gives the same run everywhere.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        (0..8).for_each(|_| {
            chance.share();
        });
        chance
    }

    pub(super) fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        ((self.share() * end as f64) as usize).min(end - 1)
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.share()).ln()).sqrt() * (std::f64::consts::TAU * self.share()).cos()
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        let (mut count, mut product) = (0, self.share());
        while product > (-mean).exp() {
            count += 1;
            product *= self.share();
        }
        count
    }
}

/// What is wrong with green.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    None,
    /// This share of its outcomes fails, each by itself.
    Errors(f64),
    Slow(f64),
}

pub(super) struct World {
    pub(super) agents: Vec<(AgentName, AgentType, ModelName)>,
    pub(super) tasks_per_second: f64,
    /// Share of outcomes that fail on either side, and how many in a row on average.
    pub(super) error_rate: f64,
    pub(super) burst: f64,
    pub(super) median_micros: f64,
    pub(super) fault: Fault,
    /// Only this type of green has the fault.
    pub(super) fault_in: Option<AgentType>,
    /// By this much the logarithms of the paces of agents differ.
    pub(super) between: f64,
    /// Times that errors and response times of both sides are multiplied by in a second.
    pub(super) drift: fn(u64) -> (f64, f64),
    /// Traffic that nobody draws: this part of it goes to a few agents.
    pub(super) skew: f64,
    chance: Chance,
    paces: Vec<f64>,
    green: Vec<bool>,
    failing: Vec<[bool; 2]>,
    now: u64,
}

impl World {
    /// 131 agents of 11 types and 3 models at 30 tasks a second, as in the demo.
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let names = TYPES.iter().flat_map(|&(kind, size)| (0..size).map(move |index| (kind, index)));
        let agents: Vec<_> = names
            .map(|(kind, index)| {
                let model = ModelName::new(MODELS[chance.below(MODELS.len())].0);
                (AgentName::new(format!("{kind}-{index}")), AgentType::from(kind), model)
            })
            .collect();
        let size = agents.len();
        Self {
            agents,
            tasks_per_second: 30.0,
            error_rate: 0.002,
            burst: 1.0,
            median_micros: 60_000.0,
            fault: Fault::None,
            fault_in: None,
            between: 0.2,
            drift: |_| (1.0, 1.0),
            skew: 0.0,
            paces: (0..size).map(|_| chance.normal()).collect(),
            green: vec![false; size],
            failing: vec![[false; 2]; size],
            chance,
            now: 0,
        }
    }

    /// Moves this many more agents to green.
    pub(super) fn cut_over(&mut self, agents: usize) {
        for _ in 0..agents {
            let blue: Vec<usize> = (0..self.green.len()).filter(|&index| !self.green[index]).collect();
            if !blue.is_empty() {
                self.green[blue[self.chance.below(blue.len())]] = true;
            }
        }
    }

    pub(super) fn baseline(&mut self, seconds: u64) -> Baseline {
        let types: BTreeMap<_, _> = self.agents.iter().map(|(name, kind, _)| (name.clone(), kind.clone())).collect();
        let mut window = Window::default();
        for _ in 0..seconds {
            window.second(&self.second(), &|agent| types.get(agent).cloned());
        }
        Baseline::new(window, Millis::from_secs(seconds)).unwrap()
    }

    /// Measures a baseline in which nothing is faulty yet, and makes the evidence for what follows.
    pub(super) fn after_baseline(&mut self, seconds: u64) -> Sequential {
        let baseline = self.baseline(seconds);
        self.sequential(&baseline)
    }

    pub(super) fn sequential(&self, baseline: &Baseline) -> Sequential {
        Sequential::new(&SequentialSetup {
            agents: &self.agents,
            error_margin: 0.001,
            latency_ratio: Some(1.5),
            alpha: ALPHA,
            baseline,
        })
    }

    /// Runs on until there is harm, at most `seconds`; the seconds that it took.
    pub(super) fn until_harm(&mut self, sequential: &mut Sequential, seconds: u64) -> Option<(u64, Harm)> {
        (1..=seconds).find_map(|after| {
            sequential.second(&self.second());
            sequential.harm().map(|harm| (after, harm))
        })
    }

    pub(super) fn second(&mut self) -> Second {
        self.now += 1;
        let mut cells: BTreeMap<usize, Cell> = BTreeMap::new();
        for _ in 0..self.chance.poisson(self.tasks_per_second) {
            let few = self.chance.share() < self.skew;
            let index = if few { self.chance.below(5) * 17 } else { self.chance.below(self.agents.len()) };
            let side = if self.green[index] { Side::Green } else { Side::Blue };
            let (after_failure, failed) = self.fails(index);
            let micros = self.micros(index);
            let (name, _, model) = &self.agents[index];
            let cell = cells.entry(index).or_insert_with(|| Cell {
                agent: name.clone(),
                model: model.clone(),
                drawn: side,
                served: side,
                tasks: Tasks::default(),
                calls: Calls::default(),
                pushes: Pushes::default(),
                signs: Signs::default(),
            });
            cell.tasks.completed += u64::from(!failed);
            cell.tasks.failed += u64::from(failed);
            cell.tasks.own_time.record(micros);
            cell.signs.trials += u64::from(!after_failure);
            cell.signs.onsets += u64::from(!after_failure && failed);
        }
        let at = UnixMillis(self.now * 1000);
        Second { number: self.now, at, cells: cells.into_values().collect(), ..Second::default() }
    }

    fn faulty(&self, index: usize) -> bool {
        self.green[index] && self.fault_in.as_ref().is_none_or(|kind| *kind == self.agents[index].1)
    }

    /// Whether the outcome before failed, and whether this one does.
    fn fails(&mut self, index: usize) -> (bool, bool) {
        let side = usize::from(self.green[index]);
        let after_failure = self.failing[index][side];
        let onset = self.error_rate / self.burst * (self.drift)(self.now).0;
        let mut chance = if after_failure { (1.0 - 1.0 / self.burst).max(onset) } else { onset };
        if let (true, Fault::Errors(share)) = (self.faulty(index), self.fault) {
            chance = chance.max(share);
        }
        let failed = self.chance.share() < chance;
        self.failing[index][side] = failed;
        (after_failure, failed)
    }

    fn micros(&mut self, index: usize) -> u64 {
        let model = MODELS.iter().find(|(name, _)| ModelName::new(name) == self.agents[index].2).map_or(1.0, |m| m.1);
        let fault = match (self.faulty(index), self.fault) {
            (true, Fault::Slow(times)) => times,
            _ => 1.0,
        };
        let ln = self.between * self.paces[index] + SPREAD * self.chance.normal();
        (self.median_micros * model * fault * (self.drift)(self.now).1 * ln.exp()) as u64
    }
}
