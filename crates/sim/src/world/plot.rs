//! One decision at one moment of the rollout, taken again until it stands: a controller that died before it was
//! written down never heard of it.

use std::collections::BTreeSet;

use bellwether_core::{
    id::AgentName,
    rollout::{Event, Rollout, State, Step, VerbKind},
    watch::{Alarm, AlarmKind},
};

use super::{Happening, World};
use crate::referee::Violation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plot {
    None,
    /// A trigger blames green while the third phase bakes.
    Blamed,
    /// A trigger takes one agent of the second phase back.
    Partly,
    /// A person rolls back while the second phase warms up, or while its traffic is being moved.
    WarmingUndone,
    CutoverUndone,
}

impl Plot {
    /// Whether its moment is there and it has not come to pass.
    fn is_due(self, rollout: &Rollout) -> bool {
        let untouched = rollout.rollback.is_none() && rollout.retreats.is_empty();
        untouched
            && match (self, rollout.state) {
                (Self::Blamed, State::Progressing { phase: 2, step: Step::Baking { .. } })
                | (Self::Partly, State::Progressing { phase: 1, step: Step::Baking { .. } })
                | (Self::WarmingUndone, State::Progressing { phase: 1, step: Step::Warming { .. } })
                | (Self::CutoverUndone, State::Progressing { phase: 1, step: Step::CuttingOver { .. } }) => true,
                (Self::None | Self::Blamed | Self::Partly | Self::WarmingUndone | Self::CutoverUndone, _) => false,
            }
    }
}

impl World {
    /// Called whenever the machine has taken something.
    pub(super) fn thicken(&mut self) {
        if self.scenario.plot != Plot::None
            && self.shell.machine.rollout().is_some_and(|r| self.scenario.plot.is_due(r))
        {
            self.agenda.at(self.now(), Happening::Plot);
        }
    }

    pub(super) fn plot(&mut self) -> Result<(), Violation> {
        let plot = self.scenario.plot;
        let Some(rollout) = self.shell.machine.rollout().filter(|rollout| plot.is_due(rollout)) else { return Ok(()) };
        let id = rollout.id;
        let phase = |at: usize| -> Vec<AgentName> {
            let batches = rollout.plan.phases.get(at).into_iter().flat_map(|phase| &phase.batches);
            batches.flat_map(|batch| &batch.agents).map(|planned| planned.agent.clone()).collect()
        };
        let agents = match plot {
            Plot::Blamed => phase(2),
            Plot::Partly => phase(1).into_iter().take(1).collect(),
            Plot::None | Plot::WarmingUndone | Plot::CutoverUndone => return self.ask_for(VerbKind::Rollback),
        };
        let types: BTreeSet<_> =
            agents.iter().filter_map(|name| self.spec.agent(name)).map(|agent| agent.agent_type.clone()).collect();
        let alarm = Alarm {
            kind: AlarmKind::Errors,
            shared: false,
            harm_began: self.gateway_now().wall,
            types: types.into_iter().collect(),
            agents,
            why: "the plot wants it".into(),
            figures: Vec::new(),
        };
        self.at_controller(self.shell.life, None, Event::Alarm { rollout: id, alarm: Box::new(alarm) })
    }
}
