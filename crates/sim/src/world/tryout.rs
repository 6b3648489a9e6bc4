//! Synthetic tasks: what a green answers, or does not, and that none gets traffic before it did.

use bellwether_core::{
    id::{AgentName, InstanceId, Side},
    rollout::Event,
    spec::Readiness,
    time::Millis,
    traffic::{Completion, Report, TaskId},
};

use super::{Happening, World, links::Link};
use crate::referee::{Violation, violated};

/// After an answer that was no good an instance asks again about when there is another task.
const ASKS_AGAIN: Millis = Millis(2_500);

impl World {
    pub(super) fn try_out(&mut self, instance: InstanceId) {
        match self.gateway.traffic.try_out(instance) {
            // The report of it was lost.
            Ok(true) => self.tell(Link::Gateway, false, Event::TriedOut { instance, fault: None }),
            Ok(false) => self.will_ask(instance),
            // It is gone, and the controller will hear of that.
            Err(_) => {}
        }
    }

    pub(super) fn reports_on_try_out(&mut self, instance: InstanceId, task: &TaskId) -> Result<(), Violation> {
        let Some(process) = self.driver.get(instance) else { return Ok(()) };
        let agent = process.agent.clone();
        let now = self.gateway_now();
        self.ends_if_done(instance);
        if self.faults() && self.fate.hit(self.scenario.answers_lost) {
            self.will_ask(instance);
            return Ok(());
        }
        let (report, fault) = if self.model_server_is_down() {
            (Report::Failed, Some("the model server was away"))
        } else if self.unfit.contains(&agent) {
            (Report::Completed { empty: true }, Some("result carries nothing"))
        } else if self.faults() && self.fate.hit(self.scenario.bad_answers) {
            (Report::Failed, Some("the model server was away"))
        } else {
            (Report::Completed { empty: false }, None)
        };
        let mut changes = Vec::new();
        let completion = self.gateway.traffic.complete(now, task, instance, report, None, &mut changes);
        let tried_out = completion == Completion::TriedOut;
        if tried_out && fault.is_none() {
            self.referee.proven(&agent);
        }
        if self.changed(changes, None)? && tried_out {
            self.tell(Link::Gateway, false, Event::TriedOut { instance, fault: fault.map(Into::into) });
        }
        if fault.is_none() {
            self.will_ask(instance);
        } else if let Some(process) = self.driver.get_mut(instance).filter(|process| !process.asks) {
            process.asks = true;
            self.agenda.after(ASKS_AGAIN, Happening::Asks { instance });
        }
        Ok(())
    }

    /// Whoever has the traffic is blue, or has answered, or an instance of the same revision did before it.
    pub(super) fn check_proven(&mut self, agent: &AgentName) -> Result<(), Violation> {
        let active = self.gateway.traffic.route(agent).active;
        let Some(process) = active.and_then(|active| self.driver.get(active)) else { return Ok(()) };
        let asked = self.plan.agents().any(|planned| planned.agent == *agent && planned.ready != Readiness::Poll);
        if process.side == Side::Green && asked && !self.referee.is_proven(agent) {
            return violated("a green answers a synthetic task before it gets traffic", agent.to_string());
        }
        Ok(())
    }
}
