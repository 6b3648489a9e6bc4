//! The two links of the controller. Each delivers in order while it is up; when it breaks, what was on it is
//! lost, or was carried out and nobody heard of it.

use bellwether_core::{
    rollout::Event,
    time::{Millis, Nanos},
};

use super::{Happening, World, deaths::Spot};
use crate::{driver::DriverCommand, gateway::Intent, referee::Violation};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Driver,
    Gateway,
}

#[derive(Default)]
pub(crate) struct Links {
    driver: Line,
    gateway: Line,
}

#[derive(Default)]
pub(crate) struct Line {
    pub(crate) up: bool,
    /// Counts connections.
    pub(crate) number: u64,
    /// What was sent earlier arrives earlier, in each direction.
    out_until: Nanos,
    back_until: Nanos,
}

impl Links {
    pub(crate) fn get(&mut self, link: Link) -> &mut Line {
        match link {
            Link::Driver => &mut self.driver,
            Link::Gateway => &mut self.gateway,
        }
    }

    pub(crate) fn number(&mut self, link: Link) -> u64 {
        self.get(link).number
    }
}

impl World {
    pub(super) fn send_driver(&mut self, command: DriverCommand) {
        let life = self.driver.life;
        self.send(Link::Driver, |link| Happening::AtDriver { link, life, command: command.clone() });
    }

    pub(super) fn send_gateway(&mut self, intent: Intent) {
        let life = self.gateway.life;
        self.send(Link::Gateway, |link| Happening::AtGateway { link, life, intent: intent.clone() });
    }

    fn send(&mut self, link: Link, what: impl Fn(u64) -> Happening) {
        let (latency, twice) = self.latency();
        let now = self.agenda.now();
        let line = self.links.get(link);
        if !line.up {
            return;
        }
        line.out_until = line.out_until.max(now + latency);
        let (at, number) = (line.out_until, line.number);
        for _ in 0..if twice { 2 } else { 1 } {
            self.agenda.at(at, what(number));
        }
    }

    /// An event or an answer for the controller. Answers do not wait for events and the other way round.
    pub(super) fn tell(&mut self, link: Link, answer: bool, event: Event) {
        let (latency, twice) = self.latency();
        let (now, life) = (self.agenda.now(), self.shell.life);
        let line = self.links.get(link);
        if !line.up {
            return;
        }
        let at = if answer { now + latency } else { line.back_until.max(now + latency) };
        if !answer {
            line.back_until = at;
        }
        let number = line.number;
        for _ in 0..if twice { 2 } else { 1 } {
            let event = Box::new(event.clone());
            self.agenda.at(at, Happening::AtController { life, link: Some((link, number)), event });
        }
    }

    fn latency(&mut self) -> (Millis, bool) {
        let faults = self.faults();
        let most = if faults { self.scenario.link_latency_max } else { Millis(3) };
        let latency = self.chance.between(Millis(0), most) + self.lateness();
        (latency, faults && self.fate.hit(self.scenario.duplicated))
    }

    /// The other end answers, but not soon.
    pub(super) fn lateness(&mut self) -> Millis {
        if self.faults() && self.fate.hit(self.scenario.late) {
            return self.fate.exponential(self.scenario.late_by);
        }
        Millis::ZERO
    }

    /// False for what was on a connection that is no more, unless the other end had it already.
    pub(super) fn arrives(&mut self, link: Link, number: u64) -> bool {
        self.links.number(link) == number || self.fate.hit(0.5)
    }

    pub(super) fn break_link(&mut self, link: Link, for_long: Millis) {
        let line = self.links.get(link);
        line.up = false;
        line.number += 1;
        let number = line.number;
        self.agenda.after(for_long, Happening::LinkUp { life: self.shell.life, link, number });
    }

    pub(super) fn link_up(&mut self, life: u64, link: Link, number: u64) -> Result<(), Violation> {
        if life != self.shell.life || !self.shell.up || self.links.number(link) != number {
            return Ok(());
        }
        let other_end = match link {
            Link::Driver => self.driver.up,
            Link::Gateway => self.gateway.up,
        };
        if !other_end {
            self.agenda.after(Millis(100), Happening::LinkUp { life, link, number });
            return Ok(());
        }
        let now = self.agenda.now();
        let line = self.links.get(link);
        line.up = true;
        (line.out_until, line.back_until) = (now, now);
        self.look();
        Ok(())
    }

    pub(super) fn at_driver(&mut self, link: u64, life: u64, command: DriverCommand) -> Result<(), Violation> {
        if self.driver.life != life || !self.arrives(Link::Driver, link) {
            return Ok(());
        }
        self.passes(Spot::DriverHeard);
        if self.driver.life != life {
            return Ok(());
        }
        self.drive(command)
    }
}
