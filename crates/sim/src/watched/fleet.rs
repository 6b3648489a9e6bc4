//! The fleets of the study, and who is on green when.

use bellwether_core::id::{AgentName, AgentType, ModelName};

use crate::chance::Chance;

/// Load and timetable of one way to run the example's 131 agents.
#[derive(Clone, Copy, Debug)]
pub struct FleetKind {
    pub name: &'static str,
    pub about: &'static str,
    /// Tasks per second, all agents together.
    pub rate: f64,
    /// Median of an agent's own time for a task.
    pub task_ms: u64,
    pub baseline_s: u64,
    /// Of each phase, bake only.
    pub bakes_s: [u64; 4],
    /// Between the beginning of a phase and its bake.
    pub warm_s: u64,
}

pub const FLEETS: [FleetKind; 4] = [
    FleetKind {
        name: "demo",
        about: "30 tasks/s of 60 ms, bakes of 18 to 45 s",
        rate: 30.0,
        task_ms: 60,
        baseline_s: 25,
        bakes_s: [18, 27, 36, 45],
        warm_s: 6,
    },
    FleetKind {
        name: "busy",
        about: "20 calls/s of 4 s, bakes of 30 to 75 min",
        rate: 20.0,
        task_ms: 4_000,
        baseline_s: 3_600,
        bakes_s: [1_800, 2_700, 3_600, 4_500],
        warm_s: 60,
    },
    FleetKind {
        name: "two-slots-5s",
        about: "two slots of 5 s calls, bakes of 30 to 75 min",
        rate: 0.4,
        task_ms: 5_000,
        baseline_s: 3_600,
        bakes_s: [1_800, 2_700, 3_600, 4_500],
        warm_s: 60,
    },
    FleetKind {
        name: "two-slots-20s",
        about: "two slots of 20 s calls, bakes of 30 to 75 min",
        rate: 0.1,
        task_ms: 20_000,
        baseline_s: 3_600,
        bakes_s: [1_800, 2_700, 3_600, 4_500],
        warm_s: 60,
    },
];

const AGENTS: &str = include_str!("../../../../examples/sutazai/agents.csv");

pub(super) type Agent = (AgentName, AgentType, ModelName);

/// Name, type and model of each.
pub(super) fn agents() -> Vec<Agent> {
    rows().map(|row| (row[0].into(), row[1].into(), ModelName::new(row[2]))).collect()
}

fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    AGENTS.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>()).filter(|row| row.len() > 3)
}

/// From which second on each agent is on green.
pub(super) struct Stages {
    greens: Vec<u64>,
    phases: Vec<u64>,
    ends_s: u64,
}

impl Stages {
    pub(super) fn new(fleet: &FleetKind, agents: &[Agent], seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x57a6_e500);
        let phase_of: Vec<usize> =
            rows().map(|row| row[3].parse::<usize>().map_or(3, |phase| phase.clamp(1, 4) - 1)).collect();
        let mut begins = 0;
        let mut greens = vec![0; agents.len()];
        let mut phases = Vec::new();
        for (phase, bake) in fleet.bakes_s.into_iter().enumerate() {
            phases.push(begins);
            let cut_over = begins + fleet.warm_s;
            for (at, _) in phase_of.iter().enumerate().filter(|(_, of)| **of == phase) {
                // The last phase goes in two halves.
                let late = phase == 3 && chance.hit(0.5);
                greens[at] = if late { cut_over + bake / 2 } else { cut_over };
            }
            begins = cut_over + bake;
        }
        Self { greens, phases, ends_s: begins }
    }

    pub(super) fn is_green(&self, agent: usize, at: Option<u64>) -> bool {
        at.is_some_and(|at| self.greens[agent] <= at)
    }

    pub(super) fn phase(&self, at: u64) -> usize {
        self.phases.iter().rposition(|begins| *begins <= at).unwrap_or(0)
    }

    pub(super) fn ends_s(&self) -> u64 {
        self.ends_s
    }
}
