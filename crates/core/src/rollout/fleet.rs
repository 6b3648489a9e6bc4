//! All agents with their seats and routes. Brings the world to what is wanted; does not decide what is wanted.
//!
//! Invariant: an agent's traffic is moved only to an instance that is ready, and at most one cutover is
//! under way at any time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    command::Command,
    event::FleetAgent,
    room::Room,
    seat::{Is, STOP_GRACE, Seat, Want},
    timers::{Timer, Timers},
};
use crate::{
    id::{AgentName, AgentType, Generation, InstanceId, Side},
    plan::Budget,
    port::gateway::{GatewayView, Move},
    time::{Millis, Now, UnixMillis},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Agent {
    pub(crate) agent_type: AgentType,
    pub(crate) drain: Millis,
    pub(crate) blue: Seat,
    pub(crate) green: Option<Seat>,
    /// Which side should have the traffic.
    pub(crate) desired: Side,
    /// Blue is kept warm after the cutover, so that the gateway may fall back to it by itself.
    pub(crate) warm: bool,
    /// Green is at fault: what it holds is taken from it when the traffic goes back to blue.
    pub(crate) blamed: bool,
    /// Green goes before blue is there, because there is no room for both: requests wait.
    pub(crate) abandoned: bool,
    /// Which instance has it, as the gateway confirmed.
    pub(crate) active: Option<InstanceId>,
}

impl Agent {
    pub(crate) fn seat(&self, side: Side) -> Option<&Seat> {
        match side {
            Side::Blue => Some(&self.blue),
            Side::Green => self.green.as_ref(),
        }
    }

    pub(crate) fn seat_mut(&mut self, side: Side) -> Option<&mut Seat> {
        match side {
            Side::Blue => Some(&mut self.blue),
            Side::Green => self.green.as_mut(),
        }
    }

    /// The side that has the traffic now.
    pub(crate) fn serving(&self) -> Option<Side> {
        let active = self.active?;
        [Side::Blue, Side::Green]
            .into_iter()
            .find(|&side| self.seat(side).is_some_and(|seat| seat.is.instance() == Some(active)))
    }

    pub(crate) fn served_by(&self, side: Side) -> bool {
        self.active.is_some() && self.seat(side).and_then(|seat| seat.is.ready()) == self.active
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct InFlight {
    generation: Generation,
    moves: Vec<Move>,
    /// Where the moves go.
    targets: BTreeSet<InstanceId>,
    drain: Millis,
    revoke: bool,
    /// Reported empty before the cutover that retired them was answered.
    emptied: BTreeSet<InstanceId>,
}

impl InFlight {
    fn command(&self) -> Command {
        Command::CutOver {
            generation: self.generation,
            moves: self.moves.clone(),
            drain: self.drain,
            revoke: self.revoke,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fleet {
    pub(crate) agents: BTreeMap<AgentName, Agent>,
    seats: BTreeMap<InstanceId, (AgentName, Side)>,
    next: InstanceId,
    pub(crate) generation: Generation,
    cutover: Option<InFlight>,
    /// What the gateway's routes are is not known until the next look: nothing is decided.
    blind: bool,
    /// Retired instances that still hold something.
    draining: BTreeSet<InstanceId>,
    /// The gateway fell back from these, because their process is gone; the driver's word for that is still to come.
    gone: BTreeSet<InstanceId>,
    /// While a rollout is under way.
    room: Option<Room>,
    /// Agents with a seat that should run and has no room yet.
    waiting: BTreeSet<AgentName>,
    /// Agents that can move as soon as the cutover under way is answered.
    unmoved: BTreeSet<AgentName>,
    /// Agents whose seats or route may need something. Work per event grows with these, not with the fleet.
    dirty: BTreeSet<AgentName>,
}

/// An instance ended that should have gone on.
pub(crate) struct Unasked {
    pub(crate) agent: AgentName,
    pub(crate) side: Side,
    /// Since the phase began.
    pub(crate) exits: u32,
    /// Without a steady time between them.
    pub(crate) in_a_row: u32,
    pub(crate) first: UnixMillis,
    /// Why it was ended, if it did not end by itself.
    pub(crate) fault: Option<String>,
}

/// On the way back green gets no longer than this to finish what it holds, because blue is to be validated within two
/// minutes (R48). What it does not finish returns to the queue.
const BACK_DRAIN_MAX: Millis = Millis::from_secs(45);
/// Beyond the gateway's own drain limit, after which a missing report of emptiness is no longer waited for.
const DRAIN_MARGIN: Millis = Millis::from_secs(10);

impl Fleet {
    pub(crate) fn declare(&mut self, agents: Vec<FleetAgent>) {
        self.next = self.next.max(InstanceId(1));
        for FleetAgent { name, agent_type, revision, http, delivery, boot, drain } in agents {
            let blue = Seat::new(name.clone(), Side::Blue, revision, (http, delivery), boot, None);
            self.dirty.insert(name.clone());
            self.agents.insert(
                name,
                Agent {
                    agent_type,
                    drain,
                    blue,
                    green: None,
                    desired: Side::Blue,
                    warm: false,
                    blamed: false,
                    abandoned: false,
                    active: None,
                },
            );
        }
    }

    pub(crate) fn next_instance(&self) -> InstanceId {
        self.next
    }

    /// No instance gets a number below this one.
    pub(crate) fn begin_numbers_at(&mut self, next: InstanceId) {
        self.next = self.next.max(next);
    }

    /// No instance of before is there any more: every seat is to be filled anew, and nobody failed.
    pub(crate) fn forget_instances(&mut self, next: InstanceId, timers: &mut Timers) {
        self.begin_numbers_at(next);
        for instance in std::mem::take(&mut self.draining) {
            timers.disarm(&Timer::Drain(instance));
        }
        self.seats.clear();
        for (name, agent) in &mut self.agents {
            agent.blue.vacate(timers);
            agent.green.iter_mut().for_each(|green| green.vacate(timers));
            self.dirty.insert(name.clone());
        }
    }

    pub(crate) fn agent_mut(&mut self, name: &AgentName) -> Option<&mut Agent> {
        self.dirty.insert(name.clone());
        self.agents.get_mut(name)
    }

    /// The seat that the instance sits in, if it still does.
    fn occupied(&mut self, instance: InstanceId) -> Option<&mut Seat> {
        let (agent, side) = self.seats.get(&instance)?.clone();
        self.dirty.insert(agent.clone());
        let seat = self.agents.get_mut(&agent)?.seat_mut(side)?;
        (seat.is.instance() == Some(instance)).then_some(seat)
    }

    pub(crate) fn seat_of(&self, instance: InstanceId) -> Option<(&AgentName, Side)> {
        self.seats.get(&instance).map(|(agent, side)| (agent, *side))
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = (InstanceId, &AgentName, Side)> {
        self.seats.iter().map(|(instance, (agent, side))| (*instance, agent, *side))
    }

    pub(crate) fn blue_drains(&self, agent: &AgentName) -> bool {
        let blue = self.agents.get(agent).and_then(|agent| agent.blue.is.instance());
        blue.is_some_and(|instance| self.draining.contains(&instance))
    }

    /// A cutover was asked for and not answered yet.
    pub(crate) fn is_moving(&self) -> bool {
        self.cutover.is_some()
    }

    pub(crate) fn enrolled(&mut self, now: Now, instance: InstanceId, timers: &mut Timers, out: &mut Vec<Command>) {
        if let Some(seat) = self.occupied(instance) {
            seat.enrolled(now, timers, out);
        }
    }

    pub(crate) fn started(&mut self, instance: InstanceId, out: &mut Vec<Command>) {
        if let Some(seat) = self.occupied(instance) {
            seat.started(out);
        }
    }

    pub(crate) fn polled(&mut self, now: Now, instance: InstanceId, timers: &mut Timers, out: &mut Vec<Command>) {
        if let Some(seat) = self.occupied(instance) {
            seat.seen(now, true, false, timers, out);
        }
    }

    pub(crate) fn healthy(&mut self, now: Now, instance: InstanceId, timers: &mut Timers, out: &mut Vec<Command>) {
        if let Some(seat) = self.occupied(instance) {
            seat.seen(now, false, true, timers, out);
        }
    }

    pub(crate) fn tried_out(&mut self, now: Now, instance: InstanceId, fault: Option<String>, timers: &mut Timers) {
        if let Some(seat) = self.occupied(instance) {
            seat.tried_out(now, fault, timers);
        }
    }

    pub(crate) fn frozen(&mut self, instance: InstanceId) {
        if let Some(seat) = self.occupied(instance) {
            seat.frozen();
        }
    }

    pub(crate) fn thawed(&mut self, instance: InstanceId) {
        if let Some(seat) = self.occupied(instance) {
            seat.thawed();
        }
    }

    /// Returns whose end it was, if it was unasked.
    pub(crate) fn ended(
        &mut self,
        now: Now,
        instance: InstanceId,
        timers: &mut Timers,
        out: &mut Vec<Command>,
    ) -> Option<Unasked> {
        self.forget_drain(instance, timers);
        self.gone.remove(&instance);
        if self.occupied(instance).is_none() {
            // What sat on blue before a commit, or a stray of an earlier controller.
            self.seats.remove(&instance);
            out.extend([Command::Lost { instance, asked: true }, Command::Retire { instances: vec![instance] }]);
            return None;
        }
        let seat = self.occupied(instance)?;
        let exits = seat.exits;
        seat.ended(now, timers, out);
        let unasked = (seat.exits > exits).then(|| Unasked {
            agent: seat.agent.clone(),
            side: seat.side,
            exits: seat.exits,
            in_a_row: seat.failures,
            first: seat.first_exit.unwrap_or(now.wall),
            fault: seat.fault.clone(),
        });
        self.seats.remove(&instance);
        unasked
    }

    pub(crate) fn empty(&mut self, instance: InstanceId, timers: &mut Timers) {
        self.forget_drain(instance, timers);
        if let Some(cutover) = &mut self.cutover {
            cutover.emptied.insert(instance);
        }
        if let Some((agent, _)) = self.seats.get(&instance) {
            self.dirty.insert(agent.clone());
        }
    }

    pub(crate) fn cut_over(&mut self, now: Now, generation: Generation, timers: &mut Timers, out: &mut Vec<Command>) {
        let overtaken = generation < self.generation;
        self.generation = self.generation.max(generation);
        let Some(InFlight { moves, drain, emptied, .. }) = self.cutover.take_if(|c| c.generation == generation) else {
            return;
        };
        if overtaken {
            // The gateway fell back after it, and that report came first.
            return self.look(out);
        }
        for Move { agent, to, .. } in moves {
            self.activate(now, &agent, to, drain, timers);
        }
        for instance in emptied {
            self.forget_drain(instance, timers);
        }
    }

    /// Another generation stands, so what was asked for did not happen. The world is looked at before the next try.
    pub(crate) fn stale(&mut self, standing: Generation, out: &mut Vec<Command>) {
        self.generation = self.generation.max(standing);
        self.look(out);
    }

    fn look(&mut self, out: &mut Vec<Command>) {
        self.close_eyes();
        out.push(Command::Observe);
    }

    /// Where the traffic goes is not known: what is stopped or moved now could be the wrong instance.
    pub(crate) fn is_blind(&self) -> bool {
        self.blind
    }

    pub(crate) fn close_eyes(&mut self) {
        self.cutover = None;
        self.blind = true;
    }

    pub(crate) fn fell_back(
        &mut self,
        now: Now,
        agent: &AgentName,
        (from, to): (InstanceId, InstanceId),
        generation: Generation,
        timers: &mut Timers,
    ) {
        if generation <= self.generation {
            // Seen already, by looking.
            return;
        }
        self.generation = generation;
        if self.occupied(from).is_some() {
            // The gateway was told of its end before we were: nothing may be moved back to it.
            self.gone.insert(from);
        }
        let drain = self.agents.get(agent).map_or(Millis::ZERO, |a| a.drain);
        self.activate(now, agent, to, drain, timers);
    }

    fn activate(&mut self, now: Now, agent: &AgentName, to: InstanceId, drain: Millis, timers: &mut Timers) {
        self.dirty.insert(agent.clone());
        let Some(entry) = self.agents.get_mut(agent) else { return };
        if let Some(retired) = entry.active.replace(to).filter(|&from| from != to && self.seats.contains_key(&from)) {
            self.draining.insert(retired);
            timers.arm(Timer::Drain(retired), now.mono + drain + DRAIN_MARGIN);
        }
        self.forget_drain(to, timers);
    }

    fn forget_drain(&mut self, instance: InstanceId, timers: &mut Timers) {
        self.draining.remove(&instance);
        timers.disarm(&Timer::Drain(instance));
    }

    pub(crate) fn due(&mut self, now: Now, timer: &Timer, timers: &mut Timers, out: &mut Vec<Command>) {
        match timer {
            Timer::Boot(instance) | Timer::TryOut(instance) => {
                if let Some(seat) = self.occupied(*instance) {
                    seat.overdue(now, timers, out);
                }
            }
            Timer::BackOff(agent, side) => {
                if let Some(seat) = self.agent_mut(agent).and_then(|a| a.seat_mut(*side)) {
                    seat.try_again();
                }
            }
            Timer::Drain(instance) => self.empty(*instance, timers),
            // The rollout's own.
            Timer::Stage | Timer::Window | Timer::Thaw => {}
        }
    }

    /// From here on nothing starts that the plan's ledger has no room for.
    pub(crate) fn limit(&mut self, budget: &Budget) {
        self.room = Room::new(budget).and_then(|mut room| {
            let fits = self.agents.keys().all(|agent| room.hold(agent, Side::Blue));
            // A plan that does not even know what runs says nothing about room.
            fits.then_some(room)
        });
    }

    pub(crate) fn lift_limit(&mut self) {
        self.room = None;
    }

    /// Whether the seat may run: it has room in memory, now or already.
    pub(crate) fn has_room(&mut self, agent: &AgentName, side: Side) -> bool {
        self.room.as_mut().is_none_or(|room| room.hold(agent, side))
    }

    /// Takes back the room of seats that have no instance and should have none.
    fn reclaim(&mut self, agents: &[AgentName]) {
        let Some(room) = &mut self.room else { return };
        for name in agents {
            let Some(agent) = self.agents.get(name) else { continue };
            for side in [Side::Blue, Side::Green] {
                if agent.seat(side).is_none_or(|seat| seat.want == Want::Stopped && seat.is.instance().is_none()) {
                    room.release(name, side);
                }
            }
        }
    }

    /// Issues what is missing for everything that was touched, and one cutover for all agents that can move.
    pub(crate) fn reconcile(&mut self, timers: &mut Timers, out: &mut Vec<Command>) {
        self.dirty.append(&mut self.waiting);
        if self.cutover.is_none() {
            self.dirty.append(&mut self.unmoved);
        }
        let dirty: Vec<AgentName> = std::mem::take(&mut self.dirty).into_iter().collect();
        self.reclaim(&dirty);
        let mut moves: Vec<(Move, Millis, bool)> = Vec::new();
        for name in dirty {
            let Some(agent) = self.agents.get_mut(&name) else { continue };
            for side in [Side::Blue, Side::Green] {
                let active = agent.active;
                let desired = agent.desired == side;
                // As long as the desired side does not serve, the other may have to stand in for it.
                let needed = desired || !agent.served_by(agent.desired);
                let abandoned = agent.abandoned && side == Side::Green;
                let hurry = agent.blamed && side == Side::Green;
                let Some(seat) = agent.seat_mut(side) else { continue };
                let instance = seat.is.instance();
                let moving = instance.is_some_and(|instance| is_target(self.cutover.as_ref(), instance));
                let idle = abandoned
                    || instance != active && !needed && !moving && instance.is_none_or(|i| !self.draining.contains(&i));
                let starts = seat.is == Is::Empty && seat.want != Want::Stopped;
                if starts && !self.room.as_mut().is_none_or(|room| room.hold(&name, side)) {
                    self.waiting.insert(name.clone());
                    continue;
                }
                seat.reconcile(idle, hurry, &mut self.next, timers, out);
                if let Some(instance) = seat.is.instance() {
                    self.seats.insert(instance, (name.clone(), side));
                }
            }
            let target = agent.seat(agent.desired).and_then(|seat| seat.is.ready());
            // What is under way already is answered, and is then touched again.
            let wanted = |to: &InstanceId| {
                agent.active != Some(*to) && !self.gone.contains(to) && !is_target(self.cutover.as_ref(), *to)
            };
            if let Some(to) = target.filter(wanted) {
                // What is about to be frozen or stopped, or is blamed by a rollback, is nothing to fall back to.
                let warm = agent.desired == Side::Green && agent.warm;
                let fallback = agent.blue.is.ready().filter(|blue| warm && !self.gone.contains(blue));
                let back = agent.desired == Side::Blue && agent.green.is_some();
                let drain = if back { agent.drain.min(BACK_DRAIN_MAX) } else { agent.drain };
                moves.push((Move { agent: name.clone(), to, fallback }, drain, back && agent.blamed));
                self.unmoved.insert(name);
            }
        }
        if self.cutover.is_none() && !moves.is_empty() {
            // One cutover revokes or does not. Harm ends first; the others follow when it is answered.
            let revoke = moves.iter().any(|(_, _, revoke)| *revoke);
            moves.retain(|(_, _, revokes)| *revokes == revoke);
            let drain = moves.iter().map(|(_, drain, _)| *drain).max().unwrap_or_default();
            let moves: Vec<Move> = moves.into_iter().map(|(step, _, _)| step).collect();
            for step in &moves {
                self.unmoved.remove(&step.agent);
            }
            let targets = moves.iter().map(|step| step.to).collect();
            let generation = self.generation.next();
            let cutover = InFlight { generation, moves, targets, drain, revoke, emptied: BTreeSet::new() };
            out.push(cutover.command());
            self.cutover = Some(cutover);
        }
    }

    /// Brings this machine's picture in line with what was found, and issues again what may have been lost.
    pub(crate) fn converge(
        &mut self,
        now: Now,
        running: &BTreeSet<InstanceId>,
        gateway: &GatewayView,
        timers: &mut Timers,
        out: &mut Vec<Command>,
    ) {
        self.generation = gateway.generation;
        self.cutover = None;
        self.blind = false;
        self.gone.clear();
        self.dirty.extend(self.agents.keys().cloned());
        for agent in self.agents.values_mut() {
            agent.active = None;
        }
        for route in &gateway.routes {
            if let Some(agent) = self.agents.get_mut(&route.agent) {
                agent.active = Some(route.active);
            }
        }
        let held: BTreeMap<InstanceId, &_> = gateway.instances.iter().map(|view| (view.instance, view)).collect();
        self.draining = held.values().filter(|v| v.quiesced && v.held > 0).map(|v| v.instance).collect();
        for &instance in &self.draining {
            if timers.at(&Timer::Drain(instance)).is_none() {
                let drain = self
                    .seats
                    .get(&instance)
                    .and_then(|(agent, _)| self.agents.get(agent))
                    .map_or(Millis::ZERO, |a| a.drain);
                timers.arm(Timer::Drain(instance), now.mono + drain + DRAIN_MARGIN);
            }
        }
        for (instance, (agent, side)) in self.seats.clone() {
            let Some(seat) = self.agents.get_mut(&agent).and_then(|a| a.seat_mut(side)) else { continue };
            if seat.is.instance() != Some(instance) {
                self.seats.remove(&instance);
                continue;
            }
            let polled = held.get(&instance).is_some_and(|view| view.polled);
            let tried = held.get(&instance).is_some_and(|view| view.tried);
            match seat.is {
                Is::Enrolling { .. } => out.push(seat.enrol(instance)),
                Is::Starting { .. } if !running.contains(&instance) => {
                    out.push(seat.enrol(instance));
                    out.push(seat.start(instance));
                }
                Is::Starting { .. } => {
                    seat.seen(now, polled, false, timers, out);
                    seat.started(out);
                }
                Is::Proving { .. }
                | Is::Ready { .. }
                | Is::Freezing { .. }
                | Is::Frozen { .. }
                | Is::Thawing { .. }
                | Is::Stopping { .. }
                    if !running.contains(&instance) =>
                {
                    seat.ended(now, timers, out);
                    self.seats.remove(&instance);
                }
                Is::Proving { .. } if tried => seat.tried_out(now, None, timers),
                // The gateway forgets whom it tries out when it starts anew.
                Is::Proving { .. } => seat.try_out(out),
                Is::Freezing { .. } => out.push(Command::Freeze { instance }),
                Is::Thawing { .. } => out.push(Command::Thaw { instance }),
                Is::Stopping { .. } => out.push(Command::Stop { instance, grace: Millis::from_secs(2) }),
                Is::Ready { .. } | Is::Frozen { .. } | Is::Empty | Is::BackOff => {}
            }
        }
        for &stray in running.iter().filter(|&i| !self.seats.contains_key(i)) {
            out.push(Command::Stop { instance: stray, grace: Millis::from_secs(2) });
        }
        let known: Vec<InstanceId> = held.keys().copied().filter(|i| !self.seats.contains_key(i)).collect();
        if !known.is_empty() {
            out.push(Command::Retire { instances: known });
        }
    }

    /// Green becomes blue: the rollout is committed, and what sat on blue ends.
    pub(crate) fn settle(&mut self, timers: &mut Timers, out: &mut Vec<Command>) {
        for (name, agent) in &mut self.agents {
            let Some(mut green) = agent.green.take() else { continue };
            (green.side, green.trial) = (Side::Blue, None);
            if let Some((_, side)) = green.is.instance().and_then(|instance| self.seats.get_mut(&instance)) {
                *side = Side::Blue;
            }
            let [old, new] = [Side::Blue, Side::Green].map(|side| Timer::BackOff(name.clone(), side));
            timers.rename(&new, old);
            let blue = std::mem::replace(&mut agent.blue, green);
            agent.desired = Side::Blue;
            self.dirty.insert(name.clone());
            if let Some(instance) = blue.is.instance() {
                blue.disarm(instance, timers);
                if matches!(blue.is, Is::Frozen { .. } | Is::Freezing { .. }) {
                    out.push(Command::Thaw { instance });
                }
                out.push(Command::Stop { instance, grace: STOP_GRACE });
            }
        }
        out.push(self.settled());
    }

    /// Says that all of blue counts as blue.
    pub(crate) fn settled(&self) -> Command {
        Command::Settle { instances: self.agents.values().filter_map(|agent| agent.blue.is.instance()).collect() }
    }

    /// Ends the back-off of an agent's green. False if it is in none.
    pub(crate) fn try_green(&mut self, agent: &AgentName, timers: &mut Timers) -> bool {
        let waits = |agent: &Agent| agent.green.as_ref().is_some_and(|green| green.is == Is::BackOff);
        if !self.agents.get(agent).is_some_and(waits) {
            return false;
        }
        timers.disarm(&Timer::BackOff(agent.clone(), Side::Green));
        if let Some(green) = self.agent_mut(agent).and_then(|entry| entry.green.as_mut()) {
            green.try_again();
        }
        true
    }

    /// Green goes although it has the traffic.
    pub(crate) fn abandon_green(&mut self, agent: &AgentName) {
        if let Some(entry) = self.agent_mut(agent) {
            entry.abandoned = true;
        }
        self.want(agent, Side::Green, Want::Stopped);
    }

    /// Blue serves alone again.
    pub(crate) fn forget_green<'a>(&mut self, agents: impl Iterator<Item = &'a AgentName>) {
        for name in agents {
            if let Some(agent) = self.agents.get_mut(name) {
                (agent.green, agent.blamed, agent.abandoned) = (None, false, false);
            }
        }
    }

    pub(crate) fn want(&mut self, agent: &AgentName, side: Side, want: Want) {
        if let Some(seat) = self.agent_mut(agent).and_then(|a| a.seat_mut(side)) {
            seat.want = want;
        }
    }
}

fn is_target(cutover: Option<&InFlight>, instance: InstanceId) -> bool {
    cutover.is_some_and(|cutover| cutover.targets.contains(&instance))
}
