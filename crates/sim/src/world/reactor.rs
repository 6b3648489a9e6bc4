//! What the controller's process does around its machine: events in, journal, commands out. Keeps to the rules of
//! the real reactor: an event is durable before its commands go out; a look at the world holds everything else up;
//! whenever a link comes up the world is looked at.

use std::collections::BTreeSet;

use bellwether_core::{
    id::{AgentName, InstanceId, RolloutId, Side},
    plan::Standby,
    rollout::{Command, Event, State, Trigger, Window},
    time::{Millis, Nanos},
};

use super::{Happening, World, deaths::Spot, links::Link};
use crate::{
    driver::{Action, DriverCommand},
    evidence::Evidence,
    gateway::Intent,
    referee::{Violation, violated},
};

/// Inputs taken into one journal transaction.
const BATCH_MAX: usize = 256;
/// What takes longer to answer is stuck.
const PATIENCE: Millis = Millis::from_secs(10);

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
        self.shell.inbox.push_back(event);
        self.take()
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

    pub(super) fn wakes(&mut self, life: u64) -> Result<(), Violation> {
        if life != self.shell.life {
            return Ok(());
        }
        self.shell.woken = false;
        self.take()
    }

    /// What waits is taken together, unless the reactor looks at the world or still writes.
    fn take(&mut self) -> Result<(), Violation> {
        let now = self.now();
        if !self.shell.up || self.shell.looking || self.shell.inbox.is_empty() {
            return Ok(());
        }
        if now < self.shell.busy_until {
            if !self.shell.woken {
                self.shell.woken = true;
                self.agenda.at(self.shell.busy_until, Happening::Wakes { life: self.shell.life });
            }
            return Ok(());
        }
        let count = self.shell.inbox.len().min(BATCH_MAX);
        let batch = self.shell.inbox.drain(..count).collect();
        self.transact(batch)?;
        self.take()
    }

    /// Events become one transaction of the journal, and then commands.
    fn transact(&mut self, events: Vec<Event>) -> Result<(), Violation> {
        let (life, now) = (self.shell.life, self.now());
        self.passes(Spot::Heard);
        if self.shell.life != life {
            return Ok(());
        }
        let mut commands = Vec::new();
        for event in events {
            let by_a_person = matches!(event, Event::Verb(_) | Event::Planned { .. } | Event::FleetDeclared { .. });
            match self.shell.step(now, event)? {
                Ok(more) => commands.extend(more),
                Err(_) if by_a_person => {}
                Err(refusal) => return violated("the machine takes what the world tells", refusal.to_string()),
            }
        }
        self.passes(Spot::Decided);
        if self.shell.life != life {
            return Ok(());
        }
        self.shell.commit()?;
        self.shell.busy_until = now + self.chance.between(Millis::ZERO, self.scenario.write_max);
        self.note();
        self.passes(Spot::Journaled);
        if self.shell.life != life {
            return Ok(());
        }
        self.shell.release();
        self.carry_out_all(commands)?;
        if self.shell.life == life {
            self.rearm();
        }
        Ok(())
    }

    /// In their order, but that neighbours to be enrolled share an intent, and all to be retired the last one.
    fn carry_out_all(&mut self, commands: Vec<Command>) -> Result<(), Violation> {
        let life = self.shell.life;
        let mut cards = Vec::new();
        let mut retired = Vec::new();
        for command in commands {
            if !matches!(command, Command::Enrol { .. }) {
                self.enrol(&mut cards);
            }
            match command {
                Command::Enrol { instance, agent, side, .. } => {
                    self.referee.allocated(instance, &agent)?;
                    cards.push((instance, agent, side));
                    continue;
                }
                Command::Retire { instances } => {
                    retired.extend(instances);
                    continue;
                }
                other => self.carry_out(other)?,
            }
            self.passes(Spot::Sent);
            if self.shell.life != life {
                return Ok(());
            }
        }
        self.enrol(&mut cards);
        if self.shell.life == life && !retired.is_empty() {
            self.send_gateway(Intent::Retire { instances: retired });
            self.passes(Spot::Sent);
        }
        Ok(())
    }

    fn enrol(&mut self, cards: &mut Vec<(InstanceId, AgentName, Side)>) {
        if !cards.is_empty() && self.shell.up {
            self.send_gateway(Intent::Enrol { cards: std::mem::take(cards) });
            self.passes(Spot::Sent);
        }
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
        self.follow_retreats();
        self.thicken();
        self.follow_study();
    }

    /// Who was taken back alone goes its own way from here on.
    fn follow_retreats(&mut self) {
        let Some(rollout) = self.shell.machine.rollout() else { return };
        self.referee.held_back(rollout.held_back());
        if rollout.state.is_over() {
            self.referee.rollout_is_over();
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
            // Sent together with their like.
            Command::Enrol { .. } | Command::Retire { .. } => {}
            Command::Start { instance, agent, side, revision } => {
                self.order(instance, Action::Start { agent, side, revision })?;
            }
            Command::Stop { instance, grace } => {
                self.may_stop(instance)?;
                self.note_who_gives_way(instance)?;
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

    /// On the way back a green may go before blue is there, but only where there is no room for both, and where green
    /// is not at fault only a few at a time.
    fn note_who_gives_way(&mut self, instance: InstanceId) -> Result<(), Violation> {
        let Some(process) = self.driver.get(instance) else { return Ok(()) };
        let serves = self.gateway.traffic.route(&process.agent).active == Some(instance);
        if !serves || process.side != Side::Green || !self.scenario.scarce_memory {
            return Ok(());
        }
        let rollout = self.shell.machine.rollout();
        let undone = rollout.and_then(|rollout| rollout.rollback.as_ref()).into_iter();
        let parts = rollout.into_iter().flat_map(|rollout| &rollout.retreats).map(|retreat| &retreat.record);
        let mut triggers = undone.chain(parts).flat_map(|record| std::iter::once(&record.trigger).chain(&record.also));
        let blamed = triggers.any(|trigger| match trigger {
            Trigger::Operator { .. } | Trigger::Drill | Trigger::WindowClosed { .. } => false,
            Trigger::Alarm(alarm) => !alarm.shared,
            Trigger::Gate { .. }
            | Trigger::CrashLoop { .. }
            | Trigger::OutOfMemory { .. }
            | Trigger::Unrecorded { .. } => true,
        });
        self.referee.gives_way(&process.agent, blamed)
    }

    /// R98: until the commit, a blue that has served is stopped only where the plan says so, after its agent was moved.
    /// One that has not was not known to work in time.
    fn may_stop(&self, instance: InstanceId) -> Result<(), Violation> {
        let Some(process) = self.driver.get(instance) else { return Ok(()) };
        let going = self.state().is_some_and(|state| !matches!(state, State::Committed));
        let excused = !self.referee.has_served(instance) || self.referee.is_discredited(instance);
        if process.side == Side::Green || !going || excused {
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
            let life = self.shell.life;
            let after = self.chance.between(Millis(1), Millis(30)) + self.lateness();
            if after > PATIENCE {
                self.agenda.after(PATIENCE, Happening::SeesNothing { life });
            } else {
                self.agenda.after(after, Happening::SeesDriver { life });
            }
        }
    }

    pub(super) fn sees_driver(&mut self, life: u64) -> Result<(), Violation> {
        if life != self.shell.life || !self.shell.up {
            return Ok(());
        }
        if !self.links.get(Link::Driver).up {
            return self.looked(None);
        }
        let running = self.observed();
        let after = self.chance.between(Millis(1), self.scenario.link_latency_max);
        self.agenda.after(after, Happening::SeesGateway { life, running });
        Ok(())
    }

    pub(super) fn sees_gateway(&mut self, life: u64, running: BTreeSet<InstanceId>) -> Result<(), Violation> {
        if life != self.shell.life || !self.shell.up {
            return Ok(());
        }
        if !self.links.get(Link::Gateway).up || !self.gateway.up {
            return self.looked(None);
        }
        let gateway = self.view();
        self.looked(Some(Event::Converge { running, gateway }))
    }

    pub(super) fn sees_nothing(&mut self, life: u64) -> Result<(), Violation> {
        if life != self.shell.life || !self.shell.up {
            return Ok(());
        }
        self.looked(None)
    }

    /// What waited comes after what was seen. A look that failed is taken again when the link is back, or soon.
    fn looked(&mut self, seen: Option<Event>) -> Result<(), Violation> {
        self.shell.looking = false;
        let (life, now) = (self.shell.life, self.mono());
        match seen {
            Some(seen) => {
                self.shell.lookout.looks(now);
                self.transact(vec![seen])?;
            }
            None => {
                self.shell.lookout.failed(now);
                self.will_glance();
            }
        }
        if life == self.shell.life {
            self.take()?;
        }
        Ok(())
    }

    /// Enters the next look into the agenda, unless one that comes earlier is there already.
    pub(super) fn will_glance(&mut self) {
        let at = self.now() + self.shell.lookout.at().since(self.mono());
        if self.shell.glance_at.is_none_or(|before| at < before) {
            self.shell.glance_at = Some(at);
            self.agenda.at(at, Happening::Glances { life: self.shell.life });
        }
    }

    /// A look that nobody asked for and that holds nothing up.
    pub(super) fn glances(&mut self, life: u64) -> Result<(), Violation> {
        let now = self.mono();
        if life != self.shell.life || !self.shell.up || self.shell.glance_at != Some(self.now()) {
            return Ok(());
        }
        self.shell.glance_at = None;
        if now < self.shell.lookout.at() {
            self.will_glance();
            return Ok(());
        }
        self.shell.lookout.looks(now);
        let seen = self.links.get(Link::Driver).up
            && self.links.get(Link::Gateway).up
            && self.gateway.up
            && self.lateness() < PATIENCE;
        if seen {
            let stirred = (self.driver.stirred, self.gateway.stirred, self.shell.committed());
            // Where nothing has changed since a look that found nothing, this one finds nothing either.
            if self.shell.settled != Some(stirred) {
                let doubts = self.shell.machine.doubts(&self.observed(), &self.view());
                self.shell.settled = doubts.is_empty().then_some(stirred);
                if self.shell.lookout.is_sure(doubts) {
                    self.look();
                }
            }
        } else {
            self.shell.lookout.saw_nothing(now);
        }
        self.will_glance();
        Ok(())
    }

    fn mono(&self) -> Nanos {
        self.shell.clock(self.now()).mono
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
