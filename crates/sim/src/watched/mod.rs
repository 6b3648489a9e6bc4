//! The watch alone, on made-up traffic of the example fleet, thousands of times: how often it cries wolf over a
//! healthy rollout, and how soon it sees a sick one.
//!
//! Nothing is rolled back here and nothing pauses: what counts is the first alarm. Errors come in bursts, agents
//! differ in speed, and both sides drift together.

mod fleet;
mod traffic;

use std::collections::BTreeMap;

use bellwether_core::{
    analysis::{Baseline, Window},
    spec::Triggers,
    time::Millis,
    watch::{Alarm, AlarmKind, Watch, WatchSetup},
};

use self::{fleet::Stages, traffic::Traffic};
pub use self::{
    fleet::{FLEETS, FleetKind},
    traffic::Fault,
};

/// What is tried how often.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    pub fleet: &'static FleetKind,
    pub fault: Fault,
    /// The phase in which greens begin to be faulty, from 0.
    pub phase: usize,
}

/// The first alarm of one run.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: AlarmKind,
    pub shared: bool,
    pub phase: usize,
    /// From the first harmful outcome, as the client counts it; none in a healthy run.
    pub delay: Option<Millis>,
    pub why: String,
}

/// One rollout from its baseline to the end of its last phase, or to the first alarm.
pub fn run(trial: &Trial, seed: u64) -> Option<Seen> {
    let fleet = trial.fleet;
    let agents = fleet::agents();
    let stages = Stages::new(fleet, &agents, seed);
    let mut traffic = Traffic::new(fleet, &agents, (trial.fault, trial.phase), seed);
    let types: BTreeMap<_, _> = agents.iter().map(|(name, kind, _)| (name.clone(), kind.clone())).collect();
    let mut window = Window::default();
    for _ in 0..fleet.baseline_s {
        window.second(&traffic.second(&stages, None), &|name| types.get(name).cloned());
    }
    let baseline = Baseline::new(window, Millis::from_secs(fleet.baseline_s)).ok()?;
    let triggers = Triggers::default();
    let mut watch = Watch::new(&WatchSetup {
        agents,
        triggers: &triggers,
        error_margin: 0.001,
        baseline: &baseline,
        memory_capacity_bytes: 1 << 40,
        memory_limits: BTreeMap::new(),
    });
    for at in 0..stages.ends_s() {
        let phase = stages.phase(at);
        let second = traffic.second(&stages, Some(at));
        if let Some(alarm) = watch.second(&second, phase).into_iter().next() {
            return Some(seen(alarm, phase, &traffic, second.at.0));
        }
    }
    None
}

fn seen(alarm: Alarm, phase: usize, traffic: &Traffic<'_>, now_ms: u64) -> Seen {
    let delay = traffic.harm_began_ms().map(|began| Millis(now_ms.saturating_sub(began)));
    Seen { kind: alarm.kind, shared: alarm.shared, phase, delay, why: alarm.why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(fault: Fault) -> Trial {
        Trial { fleet: &FLEETS[0], fault, phase: 0 }
    }

    #[test]
    fn healthy_rollouts_of_the_demo_go_through() {
        let alarms: Vec<Seen> = (0..25).filter_map(|seed| run(&trial(Fault::None), seed)).collect();
        assert!(alarms.is_empty(), "{alarms:?}");
    }

    #[test]
    fn each_fault_of_the_demo_is_seen_within_the_limit() {
        for fault in [Fault::Errors(0.3), Fault::Latency(3.0), Fault::Swallow, Fault::Hang, Fault::ModelServerDown] {
            for seed in 0..5 {
                let seen = run(&trial(fault), seed);
                let delay = seen.as_ref().and_then(|seen| seen.delay);
                assert!(delay.is_some_and(|delay| delay < Millis::from_secs(30)), "R46, {fault:?}: {seen:?}");
            }
        }
    }
}
