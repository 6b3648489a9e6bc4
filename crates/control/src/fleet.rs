//! The fleet as it runs: committed rollouts have moved agents past what the file says.

use bellwether_core::{rollout::Controller, spec::Spec};

pub(crate) fn as_it_runs(file: &Spec, machine: &Controller) -> Spec {
    let mut spec = file.clone();
    for agent in &mut spec.agents {
        let Some(runs) = machine.blue_revision(&agent.name).filter(|&id| *id != agent.revision.id) else {
            continue;
        };
        let known = machine.rollouts().iter().rev().find_map(|rollout| rollout.plan.revisions.get(runs));
        if let Some(revision) = known {
            agent.revision = revision.clone();
        }
    }
    spec
}
