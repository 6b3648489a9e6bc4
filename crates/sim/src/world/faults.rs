//! What is broken on purpose.

use bellwether_core::{
    id::{AgentName, InstanceId, RolloutId, Side},
    rollout::Event,
    time::Millis,
    watch::{Alarm, AlarmKind},
};

use super::{Happening, World, links::Link};
use crate::referee::Violation;

impl World {
    /// The moments around a change of state are the ones that matter: what can go wrong does so more often there.
    pub(super) fn tempt_fate(&mut self) {
        if self.faults() && self.fate.hit(0.3) {
            let soon = self.fate.between(Millis(0), Millis(150));
            self.agenda.after(soon, Happening::Mischief);
        }
    }

    pub(super) fn mischief(&mut self) -> Result<(), Violation> {
        let scenario = self.scenario;
        let possible: Vec<Happening> = [
            (scenario.death_every > Millis::ZERO, Happening::Death),
            (scenario.link_breaks_every > Millis::ZERO, Happening::LinkBreaks),
            (scenario.gateway_dies_every > Millis::ZERO, Happening::GatewayDies),
            (scenario.crash_per_message > 0.0, Happening::ControllerDies),
            (scenario.supervisor_dies_every > Millis::ZERO, Happening::SupervisorDies),
        ]
        .into_iter()
        .filter_map(|(can, fault)| can.then_some(fault))
        .collect();
        if possible.is_empty() {
            return Ok(());
        }
        match &possible[self.fate.below(possible.len())] {
            Happening::LinkBreaks => self.link_breaks(),
            Happening::GatewayDies => self.gateway_dies(),
            Happening::ControllerDies => self.controller_dies(),
            Happening::SupervisorDies => self.supervisor_dies(),
            _ => return self.death(),
        }
        Ok(())
    }

    /// A trigger fires that blames some who have moved, or nobody in particular.
    pub(super) fn alarm(&mut self) -> Result<(), Violation> {
        let Some(rollout) = self.shell.machine.rollout().map(|rollout| rollout.id) else { return Ok(()) };
        let moved: Vec<AgentName> = self
            .shell
            .machine
            .agents()
            .filter(|(_, side)| *side == Some(Side::Green))
            .map(|(name, _)| name.clone())
            .collect();
        let mut agents: Vec<AgentName> = Vec::new();
        for _ in 0..self.fate.below(3).min(moved.len()) {
            agents.push(moved[self.fate.below(moved.len())].clone());
        }
        let types = agents.iter().filter_map(|name| self.spec.agent(name)).map(|agent| agent.agent_type.clone());
        let wall = self.gateway_now().wall;
        let alarm = Alarm {
            kind: AlarmKind::Errors,
            shared: self.fate.hit(self.scenario.shared),
            harm_began: wall,
            types: types.collect(),
            agents,
            why: "fate says so".into(),
            figures: Vec::new(),
        };
        self.at_controller(self.shell.life, None, Event::Alarm { rollout, alarm: Box::new(alarm) })
    }

    pub(super) fn check_blue(&mut self, life: u64, rollout: RolloutId) {
        let after = self.chance.between(Millis(1_000), Millis(3_000));
        if self.faults() && self.fate.hit(self.scenario.blue_at_fault) {
            let event = Box::new(Event::RollbackChecked { rollout, fault: Some("fate says so".into()) });
            self.agenda.after(after, Happening::AtController { life, link: None, event });
            let healed = after + self.fate.exponential(Millis::from_mins(2));
            self.agenda.after(healed, Happening::BlueHeals { life, rollout });
        } else {
            self.agenda.after(after, Happening::BlueHeals { life, rollout });
        }
    }

    pub(super) fn blue_heals(&mut self, life: u64, rollout: RolloutId) -> Result<(), Violation> {
        let fault = self.fault_of_blue();
        if fault.is_some() {
            self.agenda.after(Millis(1_000), Happening::BlueHeals { life, rollout });
        }
        self.at_controller(life, None, Event::RollbackChecked { rollout, fault })
    }

    pub(super) fn death(&mut self) -> Result<(), Violation> {
        // Half of the time it hits one that has traffic.
        let active = self.fate.hit(0.5);
        let running: Vec<InstanceId> = self
            .driver
            .running()
            .filter(|(instance, _)| !active || self.gateway.traffic.fence_of(*instance).is_some())
            .map(|(instance, _)| instance)
            .collect();
        if running.is_empty() {
            return Ok(());
        }
        let victim = running[self.fate.below(running.len())];
        self.ends(victim, false, None)
    }

    pub(super) fn link_breaks(&mut self) {
        let link = if self.fate.hit(0.5) { Link::Driver } else { Link::Gateway };
        let for_long = self.fate.exponential(Millis(3_000));
        self.break_link(link, for_long);
    }

    pub(super) fn controller_dies(&mut self) {
        if self.shell.up {
            self.controller_ends();
            let after = Millis(50) + self.fate.exponential(Millis(2_000));
            self.agenda.after(after, Happening::ControllerComesBack { life: self.shell.life });
        }
    }

    fn controller_ends(&mut self) {
        self.crashes += 1;
        self.shell.die();
        for link in [Link::Driver, Link::Gateway] {
            let line = self.links.get(link);
            line.up = false;
            line.number += 1;
        }
    }

    pub(super) fn controller_comes_back(&mut self, life: u64) -> Result<(), Violation> {
        if life != self.shell.life {
            return Ok(());
        }
        let now = self.now();
        self.shell.come_back(now)?;
        if self.faults() && self.fate.hit(0.05) {
            // Somebody set the clock.
            let days = i64::try_from(self.fate.below(40)).unwrap_or(0) - 20;
            self.shell.wall_ahead += days * 24 * 3_600_000;
        }
        for link in [Link::Driver, Link::Gateway] {
            let number = self.links.number(link);
            let after = self.fate.between(Millis(1), Millis(500));
            self.agenda.after(after, Happening::LinkUp { life, link, number });
        }
        self.will_glance();
        if self.shell.machine.is_declared() {
            return self.at_controller(life, None, Event::Restarted);
        }
        Ok(())
    }

    pub(super) fn gateway_dies(&mut self) {
        if self.gateway.up {
            let for_long = Millis(50) + self.fate.exponential(Millis(1_500));
            self.gateway_ends(for_long);
            self.agenda.after(for_long, Happening::GatewayComesBack { life: self.gateway.life });
        }
    }

    fn gateway_ends(&mut self, for_long: Millis) {
        self.crashes += 1;
        let now = self.gateway_now();
        self.gateway.die(now);
        self.break_link(Link::Gateway, for_long);
    }

    pub(super) fn gateway_comes_back(&mut self, life: u64) -> Result<(), Violation> {
        if life != self.gateway.life {
            return Ok(());
        }
        let now = self.gateway_now();
        self.gateway.restart(now);
        self.referee.same_tasks(self.gateway.traffic.tasks())?;
        self.referee.same_routes(self.gateway.traffic.generation(), self.gateway.traffic.routes())?;
        let running: Vec<InstanceId> = self.driver.running().map(|(instance, _)| instance).collect();
        for instance in running {
            self.will_ask(instance);
        }
        self.changed(Vec::new(), None)?;
        Ok(())
    }

    /// Controller and gateway end with it. Whatever it was about to do to an instance is not done.
    pub(super) fn supervisor_dies(&mut self) {
        if !self.driver.up {
            return;
        }
        let for_long = Millis(100) + self.fate.exponential(Millis(3_000));
        self.driver.up = false;
        self.driver.life += 1;
        if self.shell.up {
            self.controller_ends();
        } else {
            // Nobody is left who would start it again.
            self.shell.die();
        }
        if self.gateway.up {
            self.gateway_ends(for_long);
        } else {
            self.gateway.life += 1;
        }
        self.agenda.after(for_long, Happening::SupervisorComesBack { life: self.driver.life });
    }

    /// The next one adopts what it finds on record, and ends what an earlier one started without a record.
    pub(super) fn supervisor_comes_back(&mut self, life: u64) -> Result<(), Violation> {
        if life != self.driver.life {
            return Ok(());
        }
        self.driver.up = true;
        for instance in self.driver.unrecorded() {
            self.driver.end(instance);
            self.driver.forget(instance);
        }
        self.gateway_comes_back(self.gateway.life)?;
        self.controller_comes_back(self.shell.life)
    }
}
