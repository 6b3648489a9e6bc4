//! The fleet that is simulated: the 131 agents of the example, or as many of them, spread over the same phases.

use std::collections::BTreeSet;

use bellwether_core::{
    id::AgentName,
    plan::{Measured, Plan, make},
    rollout::FleetAgent,
    spec::{Release, Sources, Spec, ThinEvidence, parse_fleet, parse_release},
    time::Millis,
};

use crate::simulate::{Load, Sickness};

const FLEET: &str = include_str!("../../../examples/sutazai/fleet.yaml");
const AGENTS: &str = include_str!("../../../examples/sutazai/agents.csv");
const RELEASE: &str = include_str!("../../../examples/sutazai/release-v2.yaml");

#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) spec: Spec,
    pub(crate) plan: Plan,
    pub(crate) pace: Pace,
    /// What is wrong with green, and in which agents.
    pub(crate) sick: Option<(Sickness, BTreeSet<AgentName>)>,
}

/// How the world around the fleet goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The fleet runs for this long before anybody wants to change it.
    pub(crate) before: Millis,
    pub(crate) first_task: Millis,
    /// Mean time between two tasks.
    pub(crate) task_every: Millis,
    /// The median time of a model call, what the model's load comes to, and how many are worked on at once (R56).
    pub(crate) call: Millis,
    pub(crate) load: Millis,
    pub(crate) slots: usize,
    /// Between two looks of somebody who minds the rollout.
    pub(crate) care_every: Millis,
    /// Faults end at a moment within this span.
    pub(crate) faults_max: Millis,
    /// From then on a rollout is over within this: all its stages, extended, and the window after it.
    pub(crate) end_within: Millis,
    /// Everybody is served and nothing is under way for this long at the end.
    pub(crate) calm: Millis,
}

/// The mean time between two tasks of the whole example, which keeps the slots two fifths busy, and of a few agents.
const TASK_EVERY: Millis = Millis(7_000);
const TASK_EVERY_OF_FEW: Millis = Millis(20_000);
const FEW: usize = 40;

impl Pace {
    /// The example's own.
    fn of(agents: usize) -> Self {
        Self {
            before: Millis::from_mins(10),
            first_task: Millis::from_mins(1),
            task_every: if agents < FEW { TASK_EVERY_OF_FEW } else { TASK_EVERY },
            call: Millis(4_000),
            load: Millis(1_500),
            slots: 2,
            care_every: Millis::from_mins(5),
            faults_max: Millis::from_mins(11 * 60),
            end_within: Millis::from_mins(14 * 60),
            calm: Millis::from_mins(3),
        }
    }

    /// Somebody's own fleet, under a load that is theirs or taken for likely.
    pub(crate) fn studied(spec: &Spec, load: Load) -> Self {
        let agents = spec.agents.len();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast that saturates")]
        let task_every = Millis((1e3 / load.rate.max(1e-6)).max(1.0) as u64);
        Self {
            before: Millis::from_mins(2),
            first_task: Millis::from_secs(30),
            task_every,
            call: load.call,
            load: load.model_load,
            slots: spec.ollama.slots() as usize,
            care_every: Millis::from_secs(30),
            faults_max: Millis::from_mins(365 * 24 * 60),
            end_within: Millis::from_mins(24 * 60),
            ..Self::of(agents)
        }
    }

    /// A rollout of a few minutes, so that each of its messages can be the last one of somebody.
    fn brisk(agents: usize) -> Self {
        Self {
            before: Millis::from_secs(8),
            first_task: Millis::from_secs(4),
            task_every: if agents < FEW { Millis(2_500) } else { Millis(800) },
            call: Millis(500),
            load: Millis(200),
            care_every: Millis::from_secs(4),
            faults_max: Millis::ZERO,
            end_within: Millis::from_mins(40),
            calm: Millis::from_secs(20),
            ..Self::of(agents)
        }
    }
}

/// Why there is no fleet to simulate.
#[derive(Debug, thiserror::Error)]
#[error("the example fleet cannot be planned: {0}")]
pub struct Unplannable(String);

/// What an instance is taken to use, under what the plan gives it room for.
const GIB: u64 = 1 << 30;

impl Fleet {
    pub(crate) fn new(agents: usize, scarce_memory: bool, brisk: bool) -> Result<Self, Unplannable> {
        let mut spec = example()?;
        if agents < spec.agents.len() {
            // A batch of one could not be half swapped.
            thin_out(&mut spec, agents.max(2), if brisk { 2 } else { 1 });
        }
        let release = release()?;
        let measured = |memory| Measured { present_memory_bytes: Some(memory), ..Measured::default() };
        let mut plan = make(&spec, &release, &measured(48 * GIB), 1.0).map_err(|found| refused(&found))?;
        if scarce_memory {
            // Room for one side of all agents and for two instances besides, in the share that a plan may use.
            spec.host.reserve_bytes = 0;
            // Almost every blue has to boot again on a way back, which is what is to be simulated.
            spec.rollout.undo_max = Millis::from_mins(60);
            let blues: u64 = plan.budget.needs.values().map(|need| need.green_bytes).sum();
            let most = plan.budget.needs.values().map(|need| need.green_bytes).max().unwrap_or(0);
            let memory = (blues + 2 * most) * 100 / 84;
            plan = make(&spec, &release, &measured(memory), 1.0).map_err(|found| refused(&found))?;
        }
        let pace = if brisk {
            hurry(&mut plan);
            Pace::brisk(spec.agents.len())
        } else {
            Pace::of(spec.agents.len())
        };
        Ok(Self { spec, plan, pace, sick: None })
    }

    pub(crate) fn declared(&self) -> Vec<FleetAgent> {
        let agents = self.spec.agents.iter().map(|agent| FleetAgent {
            name: agent.name.clone(),
            agent_type: agent.agent_type.clone(),
            revision: agent.revision.id.clone(),
            http: agent.revision.http,
            delivery: agent.revision.delivery,
            boot: agent.revision.boot,
            drain: agent.drain,
        });
        agents.collect()
    }
}

/// Minutes in the place of hours, and no question to a person where so few tasks say little.
fn hurry(plan: &mut Plan) {
    plan.baseline = Millis::from_secs(12);
    plan.validation = Millis::from_secs(8);
    plan.rollback_window = Millis::from_secs(8);
    plan.extension = 1.0;
    for phase in &mut plan.phases {
        phase.bake = Millis::from_secs(8);
        phase.gate.thin_evidence = ThinEvidence::Accept;
    }
}

/// Keeps the first agents of each phase, in proportion, and at least so many.
fn thin_out(spec: &mut Spec, agents: usize, least: usize) {
    let all = spec.agents.len();
    for phase in &mut spec.rollout.phases {
        let kept = (phase.agents.len() * agents / all).max(least);
        phase.agents.truncate(kept);
    }
    let phases = &spec.rollout.phases;
    spec.agents.retain(|agent| phases.iter().any(|phase| phase.agents.contains(&agent.name)));
}

fn example() -> Result<Spec, Unplannable> {
    let read = |_: &str| Ok(AGENTS.to_owned());
    parse_fleet(&Sources { name: "fleet.yaml", text: FLEET, read: &read }).map_err(|found| refused(&found))
}

fn release() -> Result<Release, Unplannable> {
    parse_release("release-v2.yaml", RELEASE).map_err(|found| refused(&found))
}

fn refused(found: &[bellwether_core::diagnostic::Diagnostic]) -> Unplannable {
    Unplannable(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use bellwether_core::plan::Standby;

    use super::*;

    #[test]
    fn the_whole_example_is_simulated() {
        let fleet = Fleet::new(131, false, false).unwrap();
        let cumulative: Vec<usize> = fleet.plan.phases.iter().map(|phase| phase.agents_cumulative).collect();
        assert_eq!(cumulative, [13, 32, 65, 131]);
        assert!(fleet.plan.agents().all(|planned| planned.standby == Standby::Warm));
    }

    #[test]
    fn a_small_fleet_has_all_phases() {
        let fleet = Fleet::new(8, false, true).unwrap();
        assert_eq!(fleet.plan.phases.len(), 4);
        assert_eq!(fleet.plan.agents().count(), fleet.spec.agents.len());
    }

    #[test]
    fn scarce_memory_stops_blues() {
        for agents in [12, 131] {
            let fleet = Fleet::new(agents, true, false).unwrap();
            assert!(fleet.plan.agents().any(|planned| planned.standby == Standby::Stopped), "{agents}");
        }
    }
}
