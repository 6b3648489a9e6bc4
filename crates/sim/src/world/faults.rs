//! What is broken on purpose.

use bellwether_core::{id::InstanceId, rollout::Event, time::Millis};

use super::{Happening, World, links::Link};
use crate::referee::Violation;

impl World {
    pub(super) fn death(&mut self) -> Result<(), Violation> {
        self.again(self.scenario.death_every, Happening::Death);
        let running: Vec<InstanceId> = self.driver.running().map(|(instance, _)| instance).collect();
        if running.is_empty() {
            return Ok(());
        }
        let victim = running[self.fate.below(running.len())];
        self.ends(victim, false)
    }

    pub(super) fn link_breaks(&mut self) -> Result<(), Violation> {
        self.again(self.scenario.link_breaks_every, Happening::LinkBreaks);
        let link = if self.fate.hit(0.5) { Link::Driver } else { Link::Gateway };
        let for_long = self.fate.exponential(Millis(3_000));
        self.break_link(link, for_long);
        Ok(())
    }

    pub(super) fn controller_dies(&mut self) {
        self.crashes += 1;
        self.shell.die();
        for link in [Link::Driver, Link::Gateway] {
            let line = self.links.get(link);
            line.up = false;
            line.number += 1;
        }
        let after = Millis(50) + self.fate.exponential(Millis(2_000));
        self.agenda.after(after, Happening::ControllerComesBack);
    }

    pub(super) fn controller_comes_back(&mut self) -> Result<(), Violation> {
        let now = self.now();
        self.shell.come_back(now)?;
        if self.faults() && self.fate.hit(0.05) {
            // Somebody set the clock.
            let days = i64::try_from(self.fate.below(40)).unwrap_or(0) - 20;
            self.shell.wall_ahead += days * 24 * 3_600_000;
        }
        let life = self.shell.life;
        for link in [Link::Driver, Link::Gateway] {
            let number = self.links.number(link);
            let after = self.fate.between(Millis(1), Millis(500));
            self.agenda.after(after, Happening::LinkUp { life, link, number });
        }
        if self.shell.machine.is_declared() {
            return self.at_controller(life, None, Event::Restarted);
        }
        Ok(())
    }

    pub(super) fn gateway_dies(&mut self) -> Result<(), Violation> {
        self.again(self.scenario.gateway_dies_every, Happening::GatewayDies);
        if self.gateway.up {
            self.crashes += 1;
            self.gateway.up = false;
            let for_long = Millis(50) + self.fate.exponential(Millis(1_500));
            self.break_link(Link::Gateway, for_long);
            self.agenda.after(for_long, Happening::GatewayComesBack);
        }
        Ok(())
    }

    pub(super) fn gateway_comes_back(&mut self) -> Result<(), Violation> {
        let now = self.gateway_now();
        self.gateway.restart(now);
        self.referee.same_tasks(self.gateway.traffic.tasks())?;
        let running: Vec<InstanceId> = self.driver.running().map(|(instance, _)| instance).collect();
        for instance in running {
            self.will_ask(instance);
        }
        self.changed(Vec::new())
    }
}
