//! What `simulate` tells of its runs.

pub(crate) mod text;

use bellwether_core::{plan::Plan, spec::Spec, time::Millis};
use bellwether_sim::simulate::{Broken, Fault, Load, Run, Summary, summarise};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    fleet: String,
    release: String,
    agents: usize,
    /// Agents that the release moves.
    moved: usize,
    seeds: (u64, u64),
    faults: Vec<String>,
    /// Baseline, bakes and validation, and all of it with what may come on top.
    planned: Millis,
    at_most: Millis,
    slots: u32,
    load: Load,
    assumed: Vec<String>,
    summary: Summary,
    broken: Vec<Breach>,
    runs: Vec<Run>,
}

/// An invariant that a run broke.
#[derive(Debug, Serialize)]
struct Breach {
    seed: u64,
    what: String,
}

impl Report {
    pub(crate) fn new(
        spec: &Spec,
        plan: &Plan,
        faults: &[Fault],
        load: Load,
        usual: bool,
        runs: &[Run],
        broken: &[Broken],
    ) -> Self {
        let seeds = || runs.iter().map(|run| run.seed).chain(broken.iter().map(|broken| broken.seed));
        let schedule = plan.outlook.schedule;
        Self {
            fleet: spec.fleet.clone(),
            release: plan.release.to_string(),
            agents: spec.agents.len(),
            moved: plan.agents().count(),
            seeds: (seeds().min().unwrap_or(0), seeds().max().unwrap_or(0)),
            faults: faults.iter().map(ToString::to_string).collect(),
            planned: schedule.planned,
            at_most: schedule.at_most(),
            slots: spec.ollama.slots(),
            load,
            assumed: assumed(plan, load, usual),
            summary: summarise(runs, plan),
            broken: broken.iter().map(|b| Breach { seed: b.seed, what: b.violation.to_string() }).collect(),
            runs: runs.to_vec(),
        }
    }
}

/// What nobody has measured.
fn assumed(plan: &Plan, load: Load, usual: bool) -> Vec<String> {
    let mut assumed = Vec::new();
    let why = if usual { ", which keeps the slots 40 % busy (--rate)" } else { "" };
    assumed.push(format!("{:.2} tasks a second, one model call each{why}", load.rate));
    assumed
        .push(format!("model calls of {} at the median, {} more after a switch of models", load.call, load.model_load));
    let needs = plan.budget.needs.values();
    let unmeasured =
        |measured: &dyn Fn(&bellwether_core::plan::Need) -> bool| needs.clone().filter(|n| !measured(n)).count();
    match unmeasured(&|need| need.boot_measured) {
        0 => {}
        agents => assumed.push(format!("how long instances take to boot, of {agents} agents")),
    }
    match unmeasured(&|need| need.blue_measured && need.green_measured) {
        0 => {}
        agents => assumed.push(format!("how much memory instances need, of {agents} agents")),
    }
    assumed
}
