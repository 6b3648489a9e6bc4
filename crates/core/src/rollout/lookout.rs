//! Looks at the world although nothing happened, in case something did and nobody said so: a driver that loses a word,
//! a command that was taken and never done.
//!
//! One look can fall between a command and its effect. What two in a row show, a minute apart, has been missed, and the
//! machine is told what was seen. A world that is as the machine takes it to be is never told: an idle fleet writes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{controller::Controller, fleet::Agent, seat::Is};
use crate::{
    id::{AgentName, Generation, InstanceId, Side},
    port::gateway::GatewayView,
    time::{Millis, Nanos},
};

/// Something that was seen otherwise than the machine takes it to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// The machine waits for a look, and the one it asked for has failed.
    Blind,
    /// The agent's traffic goes elsewhere.
    Route(AgentName),
    /// The cutover to this generation was asked for and not answered.
    CutOver(Generation),
    /// It should run and does not.
    Gone(InstanceId),
    /// It runs, and belongs to nobody.
    Stray(InstanceId),
    /// The gateway knows it, and it belongs to nobody.
    Unknown(InstanceId),
    /// It is being enrolled, frozen, thawed or stopped.
    UnderWay(InstanceId, Step),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Enrolling,
    Freezing,
    Thawing,
    Stopping,
}

impl Controller {
    /// What in this picture of the world is not as this machine takes it to be, or not yet.
    pub fn doubts(&self, running: &BTreeSet<InstanceId>, gateway: &GatewayView) -> BTreeSet<Doubt> {
        if self.fleet.is_blind() {
            return BTreeSet::from([Doubt::Blind]);
        }
        let mut doubts = BTreeSet::new();
        if self.fleet.is_moving() {
            doubts.insert(Doubt::CutOver(self.fleet.generation.next()));
        } else {
            let routes: BTreeMap<&AgentName, InstanceId> =
                gateway.routes.iter().map(|route| (&route.agent, route.active)).collect();
            let astray = self.fleet.agents.iter().filter(|(name, agent)| routes.get(name).copied() != agent.active);
            doubts.extend(astray.map(|(name, _)| Doubt::Route(name.clone())));
        }
        for agent in self.fleet.agents.values() {
            for seat in std::iter::once(&agent.blue).chain(&agent.green) {
                doubts.extend(doubt_of(seat.is, running));
            }
        }
        let strays = running.iter().filter(|&&instance| !self.sits(instance));
        doubts.extend(strays.map(|&instance| Doubt::Stray(instance)));
        let known = gateway.instances.iter().filter(|view| !self.sits(view.instance));
        doubts.extend(known.map(|view| Doubt::Unknown(view.instance)));
        doubts
    }

    fn sits(&self, instance: InstanceId) -> bool {
        let Some((name, side)) = self.fleet.seat_of(instance) else { return false };
        let seat = |agent: &Agent, side: Side| agent.seat(side).and_then(|seat| seat.is.instance());
        self.fleet.agents.get(name).and_then(|agent| seat(agent, side)) == Some(instance)
    }
}

fn doubt_of(is: Is, running: &BTreeSet<InstanceId>) -> Option<Doubt> {
    match is {
        // What does not come up in time is ended by the deadline of its boot.
        Is::Empty | Is::BackOff | Is::Starting { .. } => None,
        Is::Enrolling { instance } => Some(Doubt::UnderWay(instance, Step::Enrolling)),
        Is::Proving { instance }
        | Is::Ready { instance }
        | Is::Frozen { instance }
        | Is::Freezing { instance }
        | Is::Thawing { instance }
        | Is::Stopping { instance, .. }
            if !running.contains(&instance) =>
        {
            Some(Doubt::Gone(instance))
        }
        Is::Proving { .. } | Is::Ready { .. } | Is::Frozen { .. } => None,
        Is::Freezing { instance } => Some(Doubt::UnderWay(instance, Step::Freezing)),
        Is::Thawing { instance } => Some(Doubt::UnderWay(instance, Step::Thawing)),
        Is::Stopping { instance, .. } => Some(Doubt::UnderWay(instance, Step::Stopping)),
    }
}

/// When to look, and when two looks say that something was missed.
#[derive(Clone, Debug)]
pub struct Lookout {
    at: Nanos,
    before: BTreeSet<Doubt>,
    /// A look that the machine waits for has failed: the next one is believed at once.
    urgent: bool,
}

impl Lookout {
    /// Longer than whatever is stopped is given to end.
    pub const EVERY: Millis = Millis::from_secs(60);
    /// After a look that failed while somebody waits for it.
    pub const AGAIN: Millis = Millis::from_secs(1);

    pub fn new(now: Nanos) -> Self {
        Self { at: now + Self::EVERY, before: BTreeSet::new(), urgent: false }
    }

    /// When to look next.
    pub fn at(&self) -> Nanos {
        self.at
    }

    /// A look has begun, or the machine is told of one.
    pub fn looks(&mut self, now: Nanos) {
        self.at = now + Self::EVERY;
    }

    /// A look that the machine waits for has failed, maybe with both links up.
    pub fn failed(&mut self, now: Nanos) {
        self.at = now + Self::AGAIN;
        self.urgent = true;
    }

    /// A look of our own has failed.
    pub fn saw_nothing(&mut self, now: Nanos) {
        if self.urgent {
            self.failed(now);
        }
    }

    /// Whether this look, after the one before, says that the machine must be told what there is to see.
    pub fn is_sure(&mut self, doubts: BTreeSet<Doubt>) -> bool {
        let urgent = std::mem::take(&mut self.urgent) && !doubts.is_empty();
        let sure = urgent || self.before.intersection(&doubts).next().is_some();
        self.before = if sure { BTreeSet::new() } else { doubts };
        sure
    }
}
