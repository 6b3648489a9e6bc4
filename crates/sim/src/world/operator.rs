//! People: one who starts the rollout and answers what it asks, and one who presses buttons.

use bellwether_core::{
    plan::{Freeze, Plan},
    rollout::{Event, Once, Only, PauseReason, State, Step, Verb, VerbKind},
    spec::AtEnd,
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
            let plan = Box::new(self.dated());
            let start = Event::Planned { plan, by: "caretaker".into(), again: None, once: None };
            return self.at_controller(self.shell.life, None, start);
        };
        if self.scenario.studied {
            return Ok(());
        }
        let verb = match (rollout.state, &rollout.paused) {
            (State::NeedsAttention, _) => VerbKind::Retry,
            (State::Progressing { step: Step::AwaitingApproval, .. }, _) => VerbKind::Approve,
            (_, Some(PauseReason::ThinEvidence)) => VerbKind::Promote,
            (
                _,
                Some(
                    PauseReason::SharedFault { .. }
                    | PauseReason::PartlyRolledBack { .. }
                    | PauseReason::DiskFull { .. }
                    | PauseReason::WindowClosed,
                ),
            ) => VerbKind::Resume,
            (_, Some(PauseReason::Asked { .. })) if self.chance.hit(0.3) => VerbKind::Resume,
            _ => return Ok(()),
        };
        self.ask_for(verb)
    }

    /// The plan, with freeze windows and a window of its own where the scenario has them.
    fn dated(&mut self) -> Plan {
        let mut plan = self.plan.clone();
        if !self.scenario.windows {
            return plan;
        }
        let now = self.shell.clock(self.now()).wall;
        plan.freezes = (0..4)
            .map(|number| {
                let from = now + self.fate.between(Millis::from_mins(1), Millis::from_mins(9 * 60));
                let to = from + self.fate.between(Millis::from_mins(1), Millis::from_mins(60));
                Freeze { name: format!("freeze {number}"), from, to, ends: String::new() }
            })
            .collect();
        if self.fate.hit(0.5) {
            let planned = plan.outlook.schedule.planned;
            plan.window = Some(planned + self.fate.between(Millis::ZERO, Millis::from_mins(120)));
            plan.at_end = if self.fate.hit(0.5) { AtEnd::Pause } else { AtEnd::Rollback };
        }
        plan
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
            0..=10 => VerbKind::Pause,
            11..=21 => VerbKind::Resume,
            22..=33 => VerbKind::Promote,
            34 => VerbKind::Retry,
            35 => VerbKind::Approve,
            36 => VerbKind::Reject,
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
        let Some(rollout) = self.shell.machine.rollout() else { return Ok(()) };
        // Some look at a picture that is out of date, some ask twice, some do both.
        let now = rollout.position();
        let seen = if self.fate.hit(0.5) { now.clone() } else { self.glance.clone().unwrap_or_else(|| now.clone()) };
        let verb = Verb { only, expect: Some(seen), ..Verb::new(verb, rollout.id, "somebody", "it seemed right") };
        self.glance = Some(now);
        let once = Once::new(&self.happened.to_string(), &verb).ok();
        let event = Event::Verb(Verb { once, ..verb });
        if self.fate.hit(0.2) {
            let after = self.fate.between(Millis(0), Millis::from_mins(2));
            let (life, event) = (self.shell.life, Box::new(event.clone()));
            self.agenda.after(after, Happening::AtController { life, link: None, event });
        }
        self.at_controller(self.shell.life, None, event)
    }
}
