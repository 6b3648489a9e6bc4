//! What the controller's process does around its machine: events in, journal, commands out. Keeps to the rules of
//! the real reactor: an event is durable before its commands go out; a look at the world holds everything else up;
//! whenever a link comes up the world is looked at.

use bellwether_core::{
    id::{InstanceId, RolloutId, Side},
    plan::Standby,
    rollout::{Command, Event, State, Window},
    time::Millis,
};

use super::{Happening, World, links::Link};
use crate::{
    driver::{Action, DriverCommand},
    evidence::Evidence,
    gateway::Intent,
    referee::{Violation, violated},
};

impl World {
    pub(super) fn at_controller(
        &mut self,
        life: u64,
        link: Option<(Link, u64)>,
        event: Event,
    ) -> Result<(), Violation> {
        let stale = link.is_some_and(|(link, number)| self.links.number(link) != number);
        if life != self.shell.life || !self.shell.up || stale {
            return Ok(());
        }
        if self.shell.looking {
            self.shell.inbox.push_back(event);
            return Ok(());
        }
        self.step(event)
    }

    pub(super) fn tick(&mut self, life: u64) -> Result<(), Violation> {
        let now = self.now();
        if life != self.shell.life || !self.shell.up {
            return Ok(());
        }
        self.shell.ticks.remove(&now);
        if self.shell.tick_at != Some(now) {
            return Ok(());
        }
        self.shell.tick_at = None;
        self.at_controller(life, None, Event::Tick)
    }

    fn step(&mut self, event: Event) -> Result<(), Violation> {
        let dies = self.faults() && self.fate.hit(self.scenario.crash_per_message);
        if dies && self.fate.hit(0.3) {
            // Before it was written down: it never happened.
            self.controller_dies();
            return Ok(());
        }
        let by_a_person = matches!(event, Event::Verb(_) | Event::Planned { .. });
        let now = self.now();
        let mut commands = match self.shell.step(now, event)? {
            Ok(commands) => commands,
            Err(_) if by_a_person => return Ok(()),
            Err(refusal) => return violated("the machine takes what the world tells", refusal.to_string()),
        };
        self.note();
        if dies {
            commands.truncate(self.fate.below(commands.len() + 1));
        }
        for command in commands {
            self.carry_out(command)?;
        }
        if dies {
            self.controller_dies();
        } else {
            self.rearm();
        }
        Ok(())
    }

    /// Whoever judges later needs to know who was served by whom.
    fn note(&mut self) {
        let now = self.now();
        let machine = &self.shell.machine;
        self.evidence.without_ready_instance(now, machine.without_ready_instance());
        let state = machine.rollout().map(|rollout| rollout.state);
        if state != self.noted {
            self.noted = state;
            self.tempt_fate();
            let sides = self.shell.machine.agents().filter_map(|(agent, side)| Some((agent.clone(), side?)));
            self.evidence.serving(now, sides.collect());
        }
    }

    fn rearm(&mut self) {
        let wanted = self.shell.wants_tick_at();
        if self.shell.tick_at != wanted {
            self.shell.tick_at = wanted.map(|at| at.max(self.now()));
            if let Some(at) = self.shell.tick_at.filter(|&at| self.shell.ticks.insert(at)) {
                self.agenda.at(at, Happening::Tick { life: self.shell.life });
            }
        }
    }

    fn carry_out(&mut self, command: Command) -> Result<(), Violation> {
        let life = self.shell.life;
        match command {
            Command::Enrol { instance, agent, side, .. } => {
                self.referee.allocated(instance, &agent)?;
                self.send_gateway(Intent::Enrol { instance, agent, side });
            }
            Command::Start { instance, agent, side, revision } => {
                self.order(instance, Action::Start { agent, side, revision })?;
            }
            Command::Stop { instance, grace } => {
                self.may_stop(instance)?;
                self.note_who_gives_way(instance);
                self.order(instance, Action::Stop { grace })?;
            }
            Command::Freeze { instance } => self.order(instance, Action::Freeze)?,
            Command::Thaw { instance } => self.order(instance, Action::Thaw)?,
            Command::Probe { instance } => {
                self.agenda.after(Millis(20), Happening::ProbeAnswers { life, instance });
            }
            Command::TryOut { instance, fields: _ } => {
                self.referee.is_allocated(instance)?;
                self.send_gateway(Intent::TryOut { instance });
            }
            Command::CutOver { generation, moves, drain, revoke } => {
                for one in &moves {
                    self.referee.is_allocated(one.to)?;
                }
                self.send_gateway(Intent::CutOver { generation, moves, drain, revoke });
            }
            Command::Lost { instance, asked } => self.send_gateway(Intent::Lost { instance, asked }),
            Command::Retire { instances } => self.send_gateway(Intent::Retire { instances }),
            Command::Settle { instances } => self.send_gateway(Intent::Settle { instances }),
            Command::Observe => self.look(),
            Command::OpenWindow { rollout, window: _ } => {
                let after_second = Evidence::last_second(self.now());
                let event = Box::new(Event::WindowOpened { rollout, after_second });
                self.agenda.after(Millis(0), Happening::AtController { life, link: None, event });
            }
            Command::MeasureBaseline { rollout } => {
                let after = self.chance.between(Millis(20), Millis(300));
                self.agenda.after(after, Happening::Measure { life, rollout });
            }
            Command::CheckBlue { rollout } => self.check_blue(life, rollout),
            Command::Judge { rollout, window, look } => {
                let after = self.chance.between(Millis(20), Millis(300));
                self.agenda.after(after, Happening::Judge { life, rollout, window, look });
            }
        }
        Ok(())
    }

    fn order(&mut self, instance: InstanceId, action: Action) -> Result<(), Violation> {
        self.referee.is_allocated(instance)?;
        let generation = self.shell.machine.generation();
        self.send_driver(DriverCommand { instance, generation, action });
        Ok(())
    }

    /// On the way back a green may go before blue is there, but only where there is no room for both.
    fn note_who_gives_way(&mut self, instance: InstanceId) {
        let Some(process) = self.driver.get(instance) else { return };
        let serves = self.gateway.traffic.route(&process.agent).active == Some(instance);
        if serves && process.side == Side::Green && self.scenario.scarce_memory {
            self.referee.gives_way(&process.agent);
        }
    }

    /// R98: until the commit, a blue that works is stopped only where the plan says so, after its agent was moved.
    fn may_stop(&self, instance: InstanceId) -> Result<(), Violation> {
        let Some(process) = self.driver.get(instance) else { return Ok(()) };
        let going = self.state().is_some_and(|state| !matches!(state, State::Committed));
        if process.side == Side::Green || !process.polled || !going {
            return Ok(());
        }
        let planned = self.plan.agents().find(|planned| planned.agent == process.agent);
        if planned.is_some_and(|planned| planned.standby == Standby::Stopped) {
            return Ok(());
        }
        violated("blue is held until the commit", format!("{}, instance {instance}", process.agent))
    }

    /// One look answers all that ask for one meanwhile.
    pub(super) fn look(&mut self) {
        if !self.shell.looking {
            self.shell.looking = true;
            let (life, after) = (self.shell.life, self.chance.between(Millis(1), Millis(30)));
            self.agenda.after(after, Happening::SeesDriver { life });
        }
    }

    pub(super) fn sees_driver(&mut self, life: u64) -> Result<(), Violation> {
        if life != self.shell.life || !self.shell.up {
            return Ok(());
        }
        if !self.links.get(Link::Driver).up {
            return self.looked(None);
        }
        let running = self.driver.running().map(|(instance, _)| instance).collect();
        let after = self.chance.between(Millis(1), self.scenario.link_latency_max);
        self.agenda.after(after, Happening::SeesGateway { life, running });
        Ok(())
    }

    pub(super) fn sees_gateway(&mut self, life: u64, running: Vec<InstanceId>) -> Result<(), Violation> {
        if life != self.shell.life || !self.shell.up {
            return Ok(());
        }
        if !self.links.get(Link::Gateway).up || !self.gateway.up {
            return self.looked(None);
        }
        let gateway = self.view();
        self.looked(Some(Event::Converge { running: running.into_iter().collect(), gateway }))
    }

    /// What waited comes after what was seen. A look that failed is taken again when the link is back.
    fn looked(&mut self, seen: Option<Event>) -> Result<(), Violation> {
        self.shell.looking = false;
        let waited = std::mem::take(&mut self.shell.inbox);
        let life = self.shell.life;
        for event in seen.into_iter().chain(waited) {
            self.at_controller(life, None, event)?;
        }
        if life == self.shell.life {
            self.rearm();
        }
        Ok(())
    }

    pub(super) fn measure(&mut self, life: u64, asked: RolloutId) -> Result<(), Violation> {
        if life != self.shell.life || !self.links.get(Link::Gateway).up {
            return Ok(());
        }
        let until_second = Evidence::last_second(self.now());
        let Some(rollout) = self.shell.machine.rollout().filter(|rollout| rollout.id == asked) else { return Ok(()) };
        let refused = match self.evidence.baseline(rollout, until_second) {
            None => Some("the window was never opened".to_owned()),
            Some(measured) => measured.err().map(|error| error.to_string()),
        };
        self.at_controller(life, None, Event::BaselineMeasured { rollout: asked, until_second, refused })
    }

    pub(super) fn judge(&mut self, life: u64, asked: RolloutId, window: Window, look: u32) -> Result<(), Violation> {
        if life != self.shell.life || !self.links.get(Link::Gateway).up {
            return Ok(());
        }
        let Some(rollout) = self.shell.machine.rollout().filter(|rollout| rollout.id == asked) else { return Ok(()) };
        let mut report = self.evidence.judge(self.now(), rollout, window, look);
        if let Some(report) = &mut report
            && self.fate.hit(self.scenario.doubt)
        {
            report.judgements.clear();
        }
        match report {
            Some(report) => self.at_controller(life, None, Event::Judged { rollout: asked, look, report }),
            None => Ok(()),
        }
    }

    pub(super) fn probe_answers(&mut self, life: u64, instance: InstanceId) -> Result<(), Violation> {
        let Some(process) = self.driver.get(instance) else { return Ok(()) };
        if life != self.shell.life || !self.shell.up {
            return Ok(());
        }
        match process.healthy_at {
            Some(at) if at <= self.now() => self.at_controller(life, None, Event::Healthy { instance }),
            Some(at) => {
                self.agenda.at(at, Happening::ProbeAnswers { life, instance });
                Ok(())
            }
            None => Ok(()),
        }
    }
}
