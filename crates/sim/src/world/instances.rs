//! Processes: they boot, ask for tasks, are frozen, end.

use bellwether_core::{
    id::{AgentName, InstanceId, RevisionId, Side},
    port::driver::Exit,
    rollout::{Event, State},
    spec::Delivery,
    time::Millis,
};

use super::{Happening, World, deaths::Spot, links::Link};
use crate::{
    driver::{Action, DriverCommand, Process, Way},
    referee::{Violation, violated},
};

impl World {
    pub(super) fn drive(&mut self, command: DriverCommand) -> Result<(), Violation> {
        let (instance, life) = (command.instance, self.driver.life);
        let way = self.driver.way(&command);
        let lies = self.scenario.lies;
        match (way, command.action) {
            (Way::New | Way::Running, _) if self.lies(lies.never_done) => Ok(()),
            (Way::New, Action::Start { .. }) if self.lies(lies.untrue_starts) => {
                self.tell(Link::Driver, false, Event::Started { instance });
                Ok(())
            }
            (Way::New, Action::Start { agent, side, revision }) => {
                if self.faults() && self.fate.hit(self.scenario.start_fails) {
                    self.driver.unstartable.insert(instance);
                }
                if self.driver.unstartable.contains(&instance) {
                    let reason = "no process could be made".into();
                    self.tell(Link::Driver, true, Event::StartFailed { instance, reason });
                    return Ok(());
                }
                self.spawn(instance, command.generation, (agent, side, revision));
                self.passes(Spot::DriverSpawned);
                if self.driver.life != life {
                    return Ok(());
                }
                if let Some(process) = self.driver.get_mut(instance) {
                    process.recorded = true;
                }
                self.passes(Spot::DriverDone);
                Ok(())
            }
            (Way::Running, Action::Stop { grace }) => {
                self.asked_to_end(instance, grace)?;
                self.passes(Spot::DriverDone);
                Ok(())
            }
            (Way::Running, Action::Freeze) => self.set_frozen(instance, true),
            (Way::Running, Action::Thaw) => self.set_frozen(instance, false),
            (Way::Unknown, Action::Start { .. }) => {
                self.tell(Link::Driver, true, Event::Exited { instance, exit: exit(false) });
                Ok(())
            }
            (Way::Unknown, Action::Stop { .. } | Action::Freeze | Action::Thaw) => {
                self.tell(Link::Driver, true, Event::Exited { instance, exit: exit(true) });
                Ok(())
            }
            (Way::Running | Way::New | Way::Ended | Way::Stale, _) => Ok(()),
        }
    }

    fn spawn(
        &mut self,
        instance: InstanceId,
        generation: bellwether_core::id::Generation,
        (agent, side, revision): (AgentName, Side, RevisionId),
    ) {
        let need = self.plan.budget.needs.get(&agent).copied().unwrap_or_default();
        let usual = if self.scenario.studied { need.boot } else { self.scenario.boot };
        let boot = self.chance.log_normal(usual, self.scenario.boot_sigma);
        let delivery = self.delivery(&agent, side);
        let dead = side == Side::Green && self.dead.contains(&agent);
        let now = self.now();
        let process = Process {
            agent,
            side,
            revision,
            bytes: match side {
                Side::Blue => need.blue_bytes,
                Side::Green => need.green_bytes,
            },
            polled: false,
            healthy_at: (!dead).then(|| now + boot),
            frozen: false,
            stopping: false,
            recorded: false,
            denied: false,
            out_of_memory: false,
            places: places(delivery, side),
            work: Vec::new(),
            asks: true,
        };
        self.driver.begin(instance, generation, process);
        let up = self.chance.between(Millis(5), Millis(80));
        self.agenda.after(up, Happening::Up { instance });
        if self.faults() && self.fate.hit(self.scenario.dies_in_boot) {
            let after = self.fate.between(Millis::ZERO, boot);
            self.agenda.after(after, Happening::Ends { instance, asked: false, killer: None });
        } else if !dead {
            // What is not asked for tasks shows itself by its health, or by running on.
            let first = match delivery {
                Delivery::Pull => boot + self.chance.between(Millis(5), Millis(200)),
                Delivery::Push { .. } | Delivery::None => boot - Millis(1),
            };
            self.agenda.after(first, Happening::Asks { instance });
        }
    }

    pub(super) fn up(&mut self, instance: InstanceId) -> Result<(), Violation> {
        if self.driver.get(instance).is_some() {
            self.tell(Link::Driver, false, Event::Started { instance });
            self.passes(Spot::DriverTold);
        }
        Ok(())
    }

    /// The synchronous base ends at once; the other finishes what it works on, within its grace.
    fn asked_to_end(&mut self, instance: InstanceId, grace: Millis) -> Result<(), Violation> {
        let now = self.now();
        let soon = self.chance.between(Millis(5), Millis(200));
        let Some(process) = self.driver.get_mut(instance) else { return Ok(()) };
        process.stopping = true;
        let drains = process.frozen || (process.side == Side::Green && !process.work.is_empty());
        let agent = process.agent.clone();
        if !process.work.is_empty() && self.gateway.drains(instance) {
            let detail = format!("{agent}, instance {instance} is stopped");
            return violated("what was retired may finish its work until its limit", detail);
        }
        let killer = drains.then_some(self.driver.life);
        self.agenda.at(now + if drains { grace } else { soon }, Happening::Ends { instance, asked: true, killer });
        self.check_served(&agent)
    }

    fn set_frozen(&mut self, instance: InstanceId, frozen: bool) -> Result<(), Violation> {
        let Some(process) = self.driver.get_mut(instance) else { return Ok(()) };
        process.frozen = frozen;
        let agent = process.agent.clone();
        self.check_served(&agent)?;
        self.passes(Spot::DriverDone);
        let event = if frozen { Event::Frozen { instance } } else { Event::Thawed { instance } };
        self.tell(Link::Driver, false, event);
        self.passes(Spot::DriverTold);
        Ok(())
    }

    /// `killer`: it would not have ended by itself, but this driver had promised to end it by now.
    pub(super) fn ends(&mut self, instance: InstanceId, asked: bool, killer: Option<u64>) -> Result<(), Violation> {
        if killer.is_some_and(|life| life != self.driver.life) {
            return Ok(());
        }
        let Some(process) = self.driver.end(instance) else { return Ok(()) };
        if !asked {
            self.referee.died(instance, &process.agent);
        }
        self.passes(Spot::DriverDone);
        let lies = self.scenario.lies;
        if self.lies(lies.ghosts) {
            self.referee.died(instance, &process.agent);
            self.conjures(instance);
        } else if !self.lies(lies.exits_lost) {
            let asked = asked || process.stopping;
            // Before or after the controller does, as it happens; drawn from nothing, so that a seed keeps its run.
            self.agenda.after(Millis(1 + instance.0 % 40), Happening::Heralded { instance, asked });
            let exit = Exit { out_of_memory: process.out_of_memory, ..exit(asked) };
            let event = Event::Exited { instance, exit };
            if self.lies(lies.exits_doubled) {
                self.tell(Link::Driver, false, event.clone());
            }
            self.tell(Link::Driver, false, event);
            self.passes(Spot::DriverTold);
        }
        self.check_served(&process.agent)
    }

    /// Told again until the gateway has heard it.
    pub(super) fn heralded(&mut self, instance: InstanceId, asked: bool) -> Result<(), Violation> {
        if !self.gateway.up {
            self.agenda.after(Millis(50), Happening::Heralded { instance, asked });
            return Ok(());
        }
        let mut changes = Vec::new();
        match self.gateway.traffic.lost(self.gateway_now(), instance, asked, &mut changes) {
            // What is not known any more was forgotten after it was lost.
            Ok(()) | Err(_) => self.changed(changes, None).map(drop),
        }
    }

    /// What has no more work to finish ends.
    pub(super) fn ends_if_done(&mut self, instance: InstanceId) {
        let done = self.driver.get(instance).is_some_and(|process| process.stopping && process.work.is_empty());
        if done {
            self.agenda.after(Millis(20), Happening::Ends { instance, asked: true, killer: None });
        }
    }

    /// Looks whether somebody serves the agent. Whoever takes an agent's traffic away is found out here.
    pub(super) fn check_served(&mut self, agent: &AgentName) -> Result<(), Violation> {
        let active = self.gateway.traffic.route(agent).active;
        let process = active.and_then(|active| self.driver.get(active));
        let served = process.is_some_and(Process::serves);
        // It died; or it died while blue was given up, so that the gateway fell back to what just ends; or what
        // died before left nobody.
        let committed = self.state() == Some(State::Committed);
        let blamed = match (active, process) {
            (Some(active), None) => self.referee.has_died(active),
            (Some(active), Some(process)) => {
                committed && process.stopping && self.referee.fell_back(agent) || self.referee.is_discredited(active)
            }
            (None, _) => self.referee.lost_by_death(agent) || (committed && self.referee.fell_back(agent)),
        };
        self.referee.availability(self.now(), agent, served, blamed || self.referee.gave_way(agent))
    }
}

/// The synchronous base takes one task at a time.
fn places(delivery: Delivery, side: Side) -> u32 {
    match (delivery, side) {
        (Delivery::Push { places }, _) => places,
        (Delivery::Pull, Side::Blue) => 1,
        (Delivery::Pull, Side::Green) => 3,
        (Delivery::None, _) => 0,
    }
}

fn exit(asked: bool) -> Exit {
    Exit { code: Some(i32::from(!asked)), signal: None, out_of_memory: false, asked }
}
