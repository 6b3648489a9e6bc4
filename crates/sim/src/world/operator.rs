//! People: one who starts the rollout and answers what it asks, and one who presses buttons.

use bellwether_core::{
    rollout::{Event, Only, PauseReason, State, Verb, VerbKind},
    time::Millis,
};

use super::{Happening, World};
use crate::referee::Violation;

impl World {
    /// Declares the fleet, starts the rollout, and answers where it waits for a person.
    pub(super) fn care(&mut self) -> Result<(), Violation> {
        let machine = &self.shell.machine;
        let declared = machine.is_declared();
        self.agenda.after(if declared { self.pace.care_every } else { Millis(500) }, Happening::Caretaker);
        if !declared {
            let agents = self.declared.clone();
            return self.at_controller(self.shell.life, None, Event::FleetDeclared { agents });
        }
        let Some(rollout) = machine.rollout() else {
            let early =
                self.now() < bellwether_core::time::Nanos(0) + self.pace.before || machine.without_ready_instance() > 0;
            if early && self.faults() {
                return Ok(());
            }
            let plan = Box::new(self.plan.clone());
            return self.at_controller(self.shell.life, None, Event::Planned { plan, by: "caretaker".into() });
        };
        if self.scenario.studied {
            return Ok(());
        }
        let verb = match (rollout.state, &rollout.paused) {
            (State::NeedsAttention, _) => VerbKind::Rollback,
            (_, Some(PauseReason::ThinEvidence)) => VerbKind::Promote,
            (_, Some(PauseReason::SharedFault { .. } | PauseReason::PartlyRolledBack { .. })) => VerbKind::Resume,
            (_, Some(PauseReason::Asked { .. })) if self.chance.hit(0.3) => VerbKind::Resume,
            _ => return Ok(()),
        };
        self.ask_for(verb)
    }

    pub(super) fn careless_verb(&mut self) -> Result<(), Violation> {
        self.again(self.scenario.verbs_every, Happening::Verb);
        if self.state() == Some(State::Completed) && self.fate.hit(0.4) {
            // Just when somebody has died.
            self.mischief()?;
            let after = self.fate.between(Millis(0), Millis(2_000));
            self.agenda.after(after, Happening::Commit);
            return Ok(());
        }
        let verb = match self.fate.below(40) {
            0..=11 => VerbKind::Pause,
            12..=23 => VerbKind::Resume,
            24..=36 => VerbKind::Promote,
            37 => VerbKind::Rollback,
            38 => return self.take_back_some(),
            _ => VerbKind::Commit,
        };
        self.ask_for(verb)
    }

    /// Holds back a few agents, whether they have moved or not.
    fn take_back_some(&mut self) -> Result<(), Violation> {
        let count = 1 + self.fate.below(3);
        let agents = &self.spec.agents;
        let agents = (0..count).map(|_| agents[self.fate.below(agents.len())].name.clone()).collect();
        self.ask(VerbKind::Rollback, Some(Only::Agents(agents)))
    }

    pub(super) fn ask_for(&mut self, verb: VerbKind) -> Result<(), Violation> {
        self.ask(verb, None)
    }

    fn ask(&mut self, verb: VerbKind, only: Option<Only>) -> Result<(), Violation> {
        let Some(rollout) = self.shell.machine.rollout().map(|rollout| rollout.id) else { return Ok(()) };
        let verb = Verb { verb, rollout, by: "somebody".into(), reason: "it seemed right".into(), only };
        self.at_controller(self.shell.life, None, Event::Verb(verb))
    }
}
