//! The batches of a rollout: each moves as one, and comes back as one where its blues stand by.

use std::collections::BTreeSet;

use bellwether_core::{
    id::{AgentName, Side},
    plan::{Plan, Standby},
};

use super::{Violation, violated};

#[derive(Default)]
pub(crate) struct Batches {
    batches: Vec<Batch>,
}

struct Batch {
    agents: BTreeSet<AgentName>,
    /// All blues stand by warm, so that one cutover takes everything back.
    warm: bool,
    /// All of it has been on green.
    moved: bool,
}

impl Batches {
    pub(super) fn of(plan: &Plan) -> Self {
        let batches = plan.phases.iter().flat_map(|phase| &phase.batches).map(|batch| Batch {
            agents: batch.agents.iter().map(|planned| planned.agent.clone()).collect(),
            warm: batch.agents.iter().all(|planned| planned.standby == Standby::Warm),
            moved: false,
        });
        Self { batches: batches.collect() }
    }

    /// An instance of it died, the gateway moved it by itself, or it was taken back alone: it goes its own way.
    pub(super) fn excuse(&mut self, agent: &AgentName) {
        for batch in &mut self.batches {
            batch.agents.remove(agent);
        }
    }

    pub(super) fn are_whole(&mut self, side_of: &dyn Fn(&AgentName) -> Option<Side>) -> Result<(), Violation> {
        for batch in &mut self.batches {
            let green = batch.agents.iter().filter(|agent| side_of(agent) == Some(Side::Green)).count();
            batch.moved |= green > 0 && green == batch.agents.len();
            let back_in_parts = batch.moved && !batch.warm;
            if green > 0 && green < batch.agents.len() && !back_in_parts {
                let detail = format!("{green} of {} agents are on green", batch.agents.len());
                return violated("a batch is never half swapped", detail);
            }
        }
        Ok(())
    }
}
