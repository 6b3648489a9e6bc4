//! The machine: routes, roster and queue under one clock, so that a fence and the leases under it never differ.

use std::collections::BTreeMap;

use crate::{
    id::{AgentName, AgentType, Fence, Generation, InstanceId, Side},
    port::gateway::{InstanceCard, Move, RouteView},
    spec::TaskPolicy,
    time::{Millis, Nanos, Now},
};

use super::{
    change::{Change, LeaseEnd},
    priority::Priority,
    questions::Questions,
    queue::{Entry, Queue},
    roster::{Enrolled, Roster},
    route::{Route, RouteError, Routes},
    snapshot::Snapshot,
    task::{Addressee, Archived, Completion, Draw, Granted, Report, Task, TaskId, Told},
    tryout::{Answered, TryOuts},
};

/// The agents of the fleet, in its order, with their types.
pub type Agents = Vec<(AgentName, AgentType)>;

/// Owns every decision on who may take what. Each method that changes something appends to `changes` what did.
pub struct Traffic {
    agents: BTreeMap<AgentName, AgentType>,
    types: BTreeMap<AgentType, Vec<AgentName>>,
    routes: Routes,
    roster: Roster,
    queue: Queue,
    questions: Questions,
    tryouts: TryOuts,
    lease: Millis,
}

/// A task as it arrives.
#[derive(Clone, Debug)]
pub struct Submission {
    pub id: TaskId,
    pub to: Addressee,
    /// Uniform over its whole range. Chooses the agent of a task that is addressed to a type.
    pub chance: u64,
    pub priority: Priority,
    /// Not to be begun before this has passed.
    pub delay: Millis,
    /// To be begun within this, or not at all.
    pub begin_within: Option<Millis>,
    /// Instead of the fleet's own limit.
    pub attempts_max: Option<u32>,
    /// Of the body.
    pub bytes: u64,
}

impl Submission {
    /// An ordinary task of no size.
    pub fn new(id: TaskId, to: Addressee, chance: u64) -> Self {
        Self {
            id,
            to,
            chance,
            priority: Priority::default(),
            delay: Millis::ZERO,
            begin_within: None,
            attempts_max: None,
            bytes: 0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    Queued {
        agent: AgentName,
    },
    /// A task of this id is here and has not ended.
    Known {
        agent: AgentName,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the fleet has no agent {0}")]
    NoAgent(AgentName),
    #[error("the fleet has no agent of type {0}")]
    NoType(AgentType),
    #[error("too many tasks wait already")]
    Full {
        /// There may be room after this.
        retry_after: Millis,
    },
    #[error("instance {0} is enrolled with another card")]
    OtherCard(InstanceId),
    #[error("instance {0} is not enrolled")]
    Unknown(InstanceId),
}

/// What becomes of a sign of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Renewed,
    /// The lease is not, or no longer, the instance's.
    Conflict,
    Unknown,
}

/// How a cutover was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutOver {
    Done,
    /// The same generation with the same moves stands already.
    Repeated,
}

impl Traffic {
    pub fn new(policy: TaskPolicy, agents: Agents) -> Self {
        Self::restore(policy, agents, Snapshot::default(), Now::default())
    }

    /// Goes on from what was stored. Agents that only stored instances know belong to the fleet too.
    pub fn restore(policy: TaskPolicy, agents: Agents, from: Snapshot, now: Now) -> Self {
        let mut traffic = Self {
            agents: BTreeMap::new(),
            types: BTreeMap::new(),
            routes: Routes::restore(from.generation, from.moves, from.routes),
            lease: policy.lease,
            queue: Queue::restore(policy, now, from.tasks, from.last_order, from.last_seq),
            roster: Roster::default(),
            questions: Questions::default(),
            tryouts: TryOuts::default(),
        };
        for (agent, agent_type) in agents {
            traffic.learn(agent, agent_type);
        }
        for enrolled in from.instances.values() {
            traffic.learn(enrolled.card.agent.clone(), enrolled.card.agent_type.clone());
        }
        traffic.roster = Roster::restore(now, from.instances);
        traffic
    }

    pub fn generation(&self) -> Generation {
        self.routes.generation()
    }

    pub fn agents(&self) -> impl Iterator<Item = &AgentName> {
        self.agents.keys()
    }

    pub fn route(&self, agent: &AgentName) -> Route {
        self.routes.get(agent)
    }

    pub fn routes(&self) -> impl Iterator<Item = (&AgentName, &Route)> {
        self.routes.iter()
    }

    pub fn route_views(&self) -> Vec<RouteView> {
        self.routes.views()
    }

    pub fn instances(&self) -> impl Iterator<Item = (&InstanceId, &Enrolled)> {
        self.roster.iter()
    }

    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.queue.get(id)
    }

    /// Those that have not ended, in no particular order.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.queue.iter()
    }

    pub fn held_by(&self, instance: InstanceId) -> &[TaskId] {
        self.queue.held_by(instance)
    }

    pub fn queued(&self) -> u64 {
        self.queue.queued()
    }

    pub fn delayed(&self) -> u64 {
        self.queue.delayed()
    }

    pub fn leased(&self) -> u64 {
        self.queue.leased()
    }

    /// The fence, if the instance is the one that may take new leases and requests.
    pub fn fence_of(&self, instance: InstanceId) -> Option<Fence> {
        let known = self.roster.get(instance).filter(|known| !known.gone)?;
        let route = self.routes.get(&known.card.agent);
        (route.active == Some(instance)).then_some(route.fence)
    }

    /// All or none of the cards.
    pub fn enrol(&mut self, cards: Vec<InstanceCard>, changes: &mut Vec<Change>) -> Result<(), Refusal> {
        for card in &cards {
            // The side is what it was enrolled with or what it was settled to since.
            let same = |known: &Enrolled| InstanceCard { side: card.side, ..known.card.clone() } == *card;
            if self.roster.get(card.instance).is_some_and(|known| !same(known)) {
                return Err(Refusal::OtherCard(card.instance));
            }
        }
        for card in cards {
            if self.roster.get(card.instance).is_none() {
                self.learn(card.agent.clone(), card.agent_type.clone());
                self.roster.enrol(card.clone());
                changes.push(Change::Enrolled { card });
            }
        }
        Ok(())
    }

    /// The rollout is committed: the instances count as blue from here on. Leases that were granted before keep the
    /// side that they were granted to.
    pub fn settle(&mut self, instances: &[InstanceId], changes: &mut Vec<Change>) {
        for &instance in instances {
            if let Some(known) = self.roster.get_mut(instance)
                && known.card.side != Side::Blue
            {
                known.card.side = Side::Blue;
                changes.push(Change::Settled { instance });
            }
        }
    }

    /// How many tasks the instance says it works on at once.
    pub fn set_places(&mut self, instance: InstanceId, places: u32, changes: &mut Vec<Change>) {
        if let Some(known) = self.roster.get_mut(instance)
            && known.places != places
        {
            known.places = places;
            changes.push(Change::Places { instance, places });
        }
    }

    /// One generation for all moves. What the instances that are relieved hold is cut after `drain`; their leases
    /// at once where `revoke` says that they are to blame.
    pub fn cut_over(
        &mut self,
        now: Now,
        generation: Generation,
        moves: &[Move],
        drain: Millis,
        revoke: bool,
        changes: &mut Vec<Change>,
    ) -> Result<CutOver, RouteError> {
        let Some(moved) = self.routes.cut_over(generation, moves, &self.roster)? else {
            return Ok(CutOver::Repeated);
        };
        changes.push(Change::Generation { generation, moves: moves.to_vec() });
        for one in moved {
            self.queue.stir(one.agent.clone());
            changes.push(Change::Routed { agent: one.agent, route: one.route });
            self.roster.end_drain(one.to);
            changes.push(Change::Opened { instance: one.to, generation });
            let Some(from) = one.from else { continue };
            self.questions.close(from);
            let limit = now.wall + drain;
            self.roster.begin_drain(from, now.mono + drain, limit);
            changes.push(Change::Retired { instance: from, limit });
            if revoke {
                self.queue.take_back(now, from, LeaseEnd::Revoked, changes);
            }
        }
        Ok(CutOver::Done)
    }

    /// The instance's process is gone. Its leases are queued again; its route falls back where it can.
    pub fn lost(
        &mut self,
        now: Now,
        instance: InstanceId,
        asked: bool,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refusal> {
        let known = self.roster.get_mut(instance).ok_or(Refusal::Unknown(instance))?;
        if known.gone {
            return Ok(());
        }
        known.gone = true;
        let agent = known.card.agent.clone();
        let end = if asked { LeaseEnd::Returned } else { self.end_with(&agent, instance) };
        self.roster.end_drain(instance);
        self.questions.close(instance);
        self.tryouts.forget(instance);
        changes.push(Change::Gone { instance });
        self.queue.take_back(now, instance, end, changes);
        let route = self.routes.get(&agent);
        let fallback = route.fallback.filter(|&to| self.roster.get(to).is_some_and(|warm| !warm.gone));
        match fallback {
            Some(to) if route.active == Some(instance) => {
                let moved = self.routes.fall_back(&agent, to);
                let generation = self.routes.generation();
                self.roster.end_drain(to);
                self.queue.stir(agent.clone());
                changes.push(Change::Generation { generation, moves: Vec::new() });
                changes.push(Change::Routed { agent: agent.clone(), route: moved.route });
                changes.push(Change::Opened { instance: to, generation });
                changes.push(Change::FellBack { agent, from: instance, to, generation });
            }
            _ => {}
        }
        Ok(())
    }

    /// Forgets instances that have ended. One that is not known is forgotten already.
    pub fn retire(&mut self, now: Now, instances: &[InstanceId], changes: &mut Vec<Change>) {
        for &instance in instances {
            let Some(known) = self.roster.get(instance) else { continue };
            let end = self.end_with(&known.card.agent, instance);
            self.queue.take_back(now, instance, end, changes);
            self.questions.close(instance);
            self.tryouts.forget(instance);
            let Some(known) = self.roster.forget(instance) else { continue };
            if let Some(route) = self.routes.forget(&known.card.agent, instance) {
                changes.push(Change::Routed { agent: known.card.agent, route });
            }
            changes.push(Change::Forgotten { instance, token: known.card.token });
        }
    }

    pub fn submit(
        &mut self,
        now: Now,
        submission: Submission,
        changes: &mut Vec<Change>,
    ) -> Result<Submitted, Refusal> {
        let Submission { id, to, chance, priority, delay, begin_within, attempts_max, bytes } = submission;
        if let Some(known) = self.queue.get(&id) {
            return Ok(Submitted::Known { agent: known.agent.clone() });
        }
        let (agent, agent_type, draw) = match to {
            Addressee::Agent(agent) => {
                let agent_type = self.agents.get(&agent).ok_or_else(|| Refusal::NoAgent(agent.clone()))?;
                (agent, agent_type.clone(), None)
            }
            Addressee::Type(agent_type) => {
                let (agent, draw) = self.draw(&agent_type, chance).ok_or(Refusal::NoType(agent_type.clone()))?;
                (agent, agent_type, Some(draw))
            }
        };
        self.has_room(now, bytes)?;
        let given = agent.clone();
        let entry = Entry { id, agent, agent_type, draw, priority, delay, begin_within, attempts_max, bytes };
        self.queue.submit(now, entry, changes);
        Ok(Submitted::Queued { agent: given })
    }

    /// Queues a task again that has ended, and not well. One that is here has not ended.
    pub fn revive(&mut self, now: Now, task: Task, changes: &mut Vec<Change>) -> Result<Submitted, Refusal> {
        let agent = task.agent.clone();
        if self.queue.get(&task.id).is_some() {
            return Ok(Submitted::Known { agent });
        }
        if !self.agents.contains_key(&agent) {
            return Err(Refusal::NoAgent(agent));
        }
        self.has_room(now, task.bytes)?;
        self.queue.revive(now, task, changes);
        Ok(Submitted::Queued { agent })
    }

    /// False if the task is not here: it has ended, or never was.
    pub fn cancel(&mut self, now: Now, id: &TaskId, changes: &mut Vec<Change>) -> bool {
        self.queue.cancel(now, id, changes)
    }

    /// The instance has to answer a synthetic task. Returns whether it has done so already.
    pub fn try_out(&mut self, instance: InstanceId) -> Result<bool, Refusal> {
        self.roster.get(instance).filter(|known| !known.gone).ok_or(Refusal::Unknown(instance))?;
        self.tryouts.begin(instance);
        Ok(self.tryouts.passed(instance))
    }

    pub fn tried_out(&self, instance: InstanceId) -> bool {
        self.tryouts.passed(instance)
    }

    pub fn is_try_out(id: &TaskId) -> bool {
        TryOuts::is_one(id)
    }

    /// `places`: how many tasks the instance may hold, if it says so with the request.
    pub fn next(
        &mut self,
        now: Now,
        instance: InstanceId,
        places: Option<u32>,
        changes: &mut Vec<Change>,
    ) -> Option<Granted> {
        self.questions.answered(instance);
        self.find(now, instance, places, changes)
    }

    /// The answer with this task found nobody.
    pub fn undelivered(&mut self, now: Now, to: InstanceId, granted: &Granted, changes: &mut Vec<Change>) {
        if TryOuts::is_one(&granted.id) {
            self.tryouts.undelivered(to, &granted.id);
        } else {
            self.queue.undelivered(now, granted, to, changes);
        }
    }

    /// The instance says that it stops working: what it holds is queued again, and nobody is to blame.
    pub fn leave(&mut self, now: Now, instance: InstanceId, changes: &mut Vec<Change>) {
        self.questions.close(instance);
        self.queue.take_back(now, instance, LeaseEnd::Returned, changes);
    }

    /// A task that came in with the question of the instance, and is for it alone. None if it is here already, or if
    /// nothing new is for this instance.
    pub fn take_in(
        &mut self,
        now: Now,
        instance: InstanceId,
        id: TaskId,
        bytes: u64,
        changes: &mut Vec<Change>,
    ) -> Option<Granted> {
        if self.queue.get(&id).is_some() {
            return None;
        }
        let known = self.roster.get(instance).filter(|known| !known.gone)?;
        let asker = asking::asker(known, self.fence_of(instance), None);
        self.queue.take_in(now, &asker, id, bytes, changes)
    }

    /// `archived`: what the store knows of the task, needed only if [`Traffic::task`] knows none of this id.
    pub fn complete(
        &mut self,
        now: Now,
        id: &TaskId,
        by: InstanceId,
        told: impl Into<Told>,
        archived: Option<Archived>,
        changes: &mut Vec<Change>,
    ) -> Completion {
        let told = told.into();
        if TryOuts::is_one(id) {
            let good = told.report == Report::Completed { empty: false };
            return match self.tryouts.answered(now.mono, by, id, good) {
                Some(Answered::Fresh) => Completion::TriedOut,
                Some(Answered::Repeated) => Completion::Repeated,
                None => Completion::Unknown,
            };
        }
        self.queue.complete(now, id, by, told, archived, changes)
    }

    /// What the holder says of its progress itself; with a checkpoint or without.
    pub fn progress(
        &mut self,
        now: Now,
        id: &TaskId,
        by: InstanceId,
        attempt: Option<u32>,
        checkpoint: bool,
        changes: &mut Vec<Change>,
    ) -> Progress {
        let progress = self.queue.progress(now, id, by, attempt);
        if progress == Progress::Renewed && checkpoint {
            changes.push(Change::Checkpoint { id: id.clone() });
        }
        progress
    }

    pub fn renew(&mut self, now: Nanos, id: &TaskId, by: InstanceId) {
        self.queue.renew(now, id, by);
    }

    /// Ends leases whose time is over, and drains whose limit has passed.
    pub fn expire(&mut self, now: Now, changes: &mut Vec<Change>) {
        while let Some(instance) = self.roster.overdue(now.mono) {
            self.queue.take_back(now, instance, LeaseEnd::Revoked, changes);
            changes.push(Change::DrainOver { instance });
        }
        self.queue.expire(now, changes);
    }

    /// When [`Traffic::expire`] has something to do next.
    pub fn next_timeout(&self) -> Option<Nanos> {
        let questions = self.questions.iter().filter_map(|(instance, _)| {
            let known = self.roster.get(instance)?;
            let tried = self.tryouts.due(Nanos::default(), instance);
            let takeover = self.fence_of(instance).and_then(|_| self.queue.takeover_at(&known.card.agent_type));
            [tried, takeover].into_iter().flatten().min()
        });
        let others = [self.queue.next_timeout(), self.roster.next_timeout(), self.questions.next_timeout()];
        others.into_iter().flatten().chain(questions).min()
    }

    fn has_room(&self, now: Now, bytes: u64) -> Result<(), Refusal> {
        self.queue.full_for(now, bytes).map_or(Ok(()), |retry_after| Err(Refusal::Full { retry_after }))
    }

    /// How the leases of an instance end when its process does. Whoever has been relieved is stopped sooner or later,
    /// so its end is no failure and costs its tasks no attempt.
    fn end_with(&self, agent: &AgentName, instance: InstanceId) -> LeaseEnd {
        if self.routes.get(agent).active == Some(instance) { LeaseEnd::HolderGone } else { LeaseEnd::Returned }
    }

    fn learn(&mut self, agent: AgentName, agent_type: AgentType) {
        if !self.agents.contains_key(&agent) {
            self.types.entry(agent_type.clone()).or_default().push(agent.clone());
            self.agents.insert(agent, agent_type);
        }
    }

    fn draw(&self, agent_type: &AgentType, chance: u64) -> Option<(AgentName, Draw)> {
        let agents = self.types.get(agent_type)?;
        let index = ((u128::from(chance) * agents.len() as u128) >> 64) as usize;
        let drawn = agents.get(index)?;
        let side = self.side(drawn);
        let alike = agents.iter().filter(|agent| self.side(agent) == side).count();
        let chance = alike as f64 / agents.len() as f64;
        Some((drawn.clone(), Draw { side, chance }))
    }

    /// The side that serves an agent; before anything does, what will is blue.
    fn side(&self, agent: &AgentName) -> Side {
        let active = self.routes.get(agent).active.and_then(|active| self.roster.get(active));
        active.map_or(Side::Blue, |known| known.card.side)
    }
}

mod asking;
#[cfg(test)]
mod tests;
