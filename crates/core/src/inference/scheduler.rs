//! The machine that decides which call gets a slot and which model is loaded.
//!
//! Precedence: class, risen by age; then what is loaded, for at most one quantum while calls of the same class wait for
//! something else; then the agent that used least slot time for its weight; then, of one agent's calls, work for a task that
//! was begun, and age. Before a switch everything in flight is drained, and the load is a command of its own, so that no
//! impatient caller can abort it. How long that can take for whom is in [`super::Demand`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Bound, Class, Demand, Limits, Refused, Runner, ServerId,
    accounts::{Accounts, AgentIx},
    pace::Pace,
    queue::{Line, Queue, Waiting},
    server::{Resident, Server},
};
use crate::{
    id::{AgentName, ModelName},
    time::{Millis, Nanos},
};

/// A call of a model, numbered by the shell; smaller numbers came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What a call wants.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who is charged. Blue and green of an agent are one.
    pub agent: AgentName,
    pub runner: Runner,
    pub class: Class,
    /// It works for a task that the agent has begun.
    pub begun: bool,
    /// Computations that the model server makes of it at once: inputs of an embedding. It holds so many slots, at most
    /// all.
    pub inputs: u32,
    /// The runner is loaded by embedding nothing and not by generating nothing.
    pub embeds: bool,
}

impl Ask {
    pub fn new(agent: AgentName, runner: Runner) -> Self {
        Self { agent, runner, class: Class::default(), begun: false, inputs: 1, embeds: false }
    }
}

/// What the shell has to do. Taken by [`Scheduler::poll`] until there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The call holds its slots. The shell answers with [`Scheduler::finished`] once the model server is done with it.
    Grant { call: CallId, server: ServerId },
    /// Load while nothing is in flight there. The shell answers with [`Scheduler::loaded`].
    Load { server: ServerId, runner: Runner, embeds: bool },
}

/// A call that holds slots.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    pub call: CallId,
    pub agent: &'a AgentName,
    pub runner: &'a Runner,
    pub server: ServerId,
    pub slots: u32,
}

#[derive(Clone, Debug)]
pub struct Scheduler {
    limits: Limits,
    calls: BTreeMap<CallId, Call>,
    accounts: Accounts,
    queue: Queue,
    servers: Vec<Server>,
    switches: u64,
    pace: Pace,
    commands: VecDeque<Command>,
    /// Another process decides from here on.
    closed: bool,
}

#[derive(Clone, Debug)]
struct Call {
    agent: AgentIx,
    runner: Runner,
    slots: u32,
    embeds: bool,
    granted: Option<Granted>,
}

#[derive(Clone, Copy, Debug)]
struct Granted {
    at: Nanos,
    server: ServerId,
}

impl Scheduler {
    pub fn new(limits: Limits) -> Self {
        let servers = if limits.slots.is_empty() { &[1][..] } else { &limits.slots };
        Self {
            servers: servers.iter().map(|&slots| Server::new(slots)).collect(),
            accounts: Accounts::new(limits.weights.clone()),
            limits,
            calls: BTreeMap::new(),
            queue: Queue::default(),
            switches: 0,
            pace: Pace::default(),
            commands: VecDeque::new(),
            closed: false,
        }
    }

    /// A call that the process before this one has in flight: it holds slots and is charged to its agent until
    /// [`Scheduler::finished`]. To be told before anything is asked for. What is in flight at a server is of the runner that
    /// is loaded there, as no two ever are.
    pub fn adopt(&mut self, now: Nanos, call: CallId, ask: Ask, server: ServerId) {
        let server = ServerId(server.0.min(self.servers.len() - 1));
        self.assume(now, server, ask.runner.clone());
        let agent = self.accounts.open_for(&ask.agent);
        let slots = ask.inputs.clamp(1, self.servers[server.0].slots);
        self.accounts.adopted(now, agent, slots);
        self.servers[server.0].busy += slots;
        let granted = Some(Granted { at: now, server });
        self.calls.insert(call, Call { agent, runner: ask.runner, slots, embeds: ask.embeds, granted });
    }

    /// What the process before this one left loaded. Ignored where more is known.
    pub fn assume(&mut self, now: Nanos, server: ServerId, runner: Runner) {
        if let Some(server) = self.servers.get_mut(server.0)
            && matches!(server.resident, Resident::Unknown)
        {
            server.resident = Resident::Loaded { runner, proven: true, last_used: now, until: None };
        }
    }

    /// Grants and loads nothing any more. Returns the calls that wait, which are forgotten: whoever decides next is to
    /// be asked for them. What is in flight, and a load that is under way, end here as they would have.
    pub fn close(&mut self, now: Nanos) -> Vec<CallId> {
        self.closed = true;
        let waiting: Vec<CallId> =
            self.calls.iter().filter(|(_, call)| call.granted.is_none()).map(|(&id, _)| id).collect();
        for &call in &waiting {
            self.finished(now, call);
        }
        waiting
    }

    /// What holds slots.
    pub fn in_flight(&self) -> impl Iterator<Item = Held<'_>> {
        self.calls.iter().filter_map(|(&id, call)| {
            let agent = self.accounts.name(call.agent)?;
            let server = call.granted?.server;
            Some(Held { call: id, agent, runner: &call.runner, server, slots: call.slots })
        })
    }

    /// What is being loaded.
    pub fn loading(&self) -> impl Iterator<Item = (ServerId, &Runner)> {
        let servers = self.servers.iter().enumerate().filter(|(_, server)| server.is_loading());
        servers.filter_map(|(at, server)| Some((ServerId(at), server.runner()?)))
    }

    /// What the server has loaded, as far as is known.
    pub fn resident(&self, server: ServerId) -> Option<&Runner> {
        match &self.servers.get(server.0)?.resident {
            Resident::Loaded { runner, proven: true, .. } => Some(runner),
            Resident::Unknown | Resident::Loading { .. } | Resident::Loaded { .. } => None,
        }
    }

    /// A call asks for a slot. Ids must not be used twice.
    pub fn enqueue(&mut self, now: Nanos, call: CallId, ask: Ask) -> Result<(), Refused> {
        let waiting = self.accounts.find(&ask.agent).map_or(0, |agent| self.accounts.waiting(agent));
        if waiting >= self.limits.per_agent_max {
            return Err(self.refused(Bound::Agent, waiting * self.accounts.active().0.max(1)));
        }
        if self.queue.len() >= self.limits.waiting_max {
            return Err(self.refused(Bound::Total, self.queue.len()));
        }
        let Ask { agent, runner, class, begun, inputs, embeds } = ask;
        let debt_max = self.limits.debt_max(self.pace.longest_call());
        let agent = self.accounts.enqueued(now, &agent, debt_max.0.saturating_mul(1_000_000));
        let slots = inputs.max(1);
        self.queue.push(Waiting { call, agent, class, begun, slots, since: now }, &runner);
        self.calls.insert(call, Call { agent, runner, slots, embeds, granted: None });
        self.advance(now);
        Ok(())
    }

    /// The model server is done with the call: it answered, failed, or its connection is closed.
    pub fn finished(&mut self, now: Nanos, call: CallId) {
        let Some(Call { agent, runner, slots, granted, .. }) = self.calls.remove(&call) else { return };
        match granted {
            Some(Granted { at, server }) => {
                let server = &mut self.servers[server.0];
                server.busy = server.busy.saturating_sub(slots);
                server.used(now);
                self.accounts.settled(now, agent, at, slots);
                self.pace.called(now, Nanos(now.0.saturating_sub(at.0)));
            }
            None => {
                self.queue.remove(call, &runner);
                self.accounts.withdrawn(now, agent);
            }
        }
        self.advance(now);
    }

    /// The caller gave up. A waiting call is forgotten; one in flight keeps its slots until
    /// [`Scheduler::finished`], because the model server may still be working on it.
    pub fn left(&mut self, now: Nanos, call: CallId) {
        if self.calls.get(&call).is_some_and(|call| call.granted.is_none()) {
            self.finished(now, call);
        }
    }

    /// The load that was commanded has ended. What was not commanded is ignored.
    pub fn loaded(&mut self, now: Nanos, server: ServerId, runner: &Runner, ok: bool) {
        let Some(Server { resident, .. }) = self.servers.get_mut(server.0) else { return };
        let Resident::Loading { runner: loading, since } = resident else { return };
        if loading != runner {
            return;
        }
        if ok {
            self.pace.loaded(now, Nanos(now.0.saturating_sub(since.0)));
        }
        *resident = Resident::Loaded { runner: runner.clone(), proven: ok, last_used: now, until: None };
        self.advance(now);
    }

    /// A call said that its model is not to be kept: what is asked for next is loaded first, whatever it is.
    pub fn unloaded(&mut self, now: Nanos, server: ServerId) {
        if let Some(server) = self.servers.get_mut(server.0)
            && !server.is_loading()
        {
            server.resident = Resident::Unknown;
        }
        self.advance(now);
    }

    /// The models that a server has. What no server is known to have may be sent to any.
    pub fn has(&mut self, now: Nanos, server: ServerId, models: BTreeSet<ModelName>) {
        if let Some(server) = self.servers.get_mut(server.0) {
            server.models = Some(models);
        }
        self.advance(now);
    }

    /// Nothing is sent to the server any more until it is [up](Self::up) again. What is in flight there ends as it does.
    pub fn down(&mut self, now: Nanos, server: ServerId) {
        if let Some(server) = self.servers.get_mut(server.0) {
            server.up = false;
            // Whoever comes back may have started anew.
            if !server.is_loading() {
                server.resident = Resident::Unknown;
            }
        }
        self.advance(now);
    }

    pub fn up(&mut self, now: Nanos, server: ServerId) {
        if let Some(server) = self.servers.get_mut(server.0) {
            server.up = true;
        }
        self.advance(now);
    }

    pub fn is_up(&self, server: ServerId) -> bool {
        self.servers.get(server.0).is_some_and(|server| server.up)
    }

    /// A slot of the server is free.
    pub fn has_room(&self, server: ServerId) -> bool {
        self.servers.get(server.0).is_some_and(|server| server.free() > 0)
    }

    pub fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub fn slots_busy(&self) -> u32 {
        self.servers.iter().map(|server| server.busy).sum()
    }

    pub fn calls_waiting(&self) -> usize {
        self.queue.len()
    }

    /// Loads commanded so far.
    pub fn switches(&self) -> u64 {
        self.switches
    }

    /// The longest that a call of this class can have to wait, with what there is to be done and the longest calls and
    /// loads of late.
    pub fn wait_max(&self, class: Class) -> Millis {
        let (agents, weight) = self.accounts.active();
        let resident = self.servers.iter().filter_map(Server::runner).filter(|&it| self.queue.line(it).is_none());
        let runners = self.queue.lines().len() + resident.count();
        self.limits.wait_max(&Demand {
            class,
            runners: u32::try_from(runners).unwrap_or(u32::MAX),
            others: u32::try_from(agents).unwrap_or(u32::MAX),
            others_weight: weight,
            weight: 1,
            own_ahead: 0,
            call: self.pace.longest_call(),
            load: self.pace.longest_load(),
        })
    }

    fn advance(&mut self, now: Nanos) {
        // Calls that can be granted go first: no model is loaded for one that another server has loaded.
        while !self.closed && (self.grant_one(now) || self.switch_one(now)) {}
    }

    /// Servers, the one with most room first.
    fn by_room(&self) -> Vec<ServerId> {
        let mut servers: Vec<ServerId> = (0..self.servers.len()).map(ServerId).collect();
        servers.sort_by_key(|&ServerId(at)| {
            let Server { slots, busy, .. } = self.servers[at];
            u64::from(busy) * 1000 / u64::from(slots)
        });
        servers
    }

    fn grant_one(&mut self, now: Nanos) -> bool {
        if self.servers.len() == 1 {
            return self.grant(now, ServerId(0));
        }
        self.by_room().into_iter().any(|server| self.grant(now, server))
    }

    fn switch_one(&mut self, now: Nanos) -> bool {
        (0..self.servers.len()).any(|at| self.switch(now, ServerId(at)))
    }

    /// What waits for something that the server can be asked for.
    fn lines(&self, at: ServerId) -> impl Iterator<Item = &Line> {
        let alone = self.servers.len() == 1;
        let has = |at: usize, runner: &Runner| {
            self.servers[at].models.as_ref().is_none_or(|models| models.contains(&runner.model))
        };
        let nobody_has = move |runner: &Runner| (0..self.servers.len()).all(|at| !has(at, runner));
        let is_of = move |runner: &Runner| alone || has(at.0, runner) || nobody_has(runner);
        self.queue.lines().iter().filter(move |line| is_of(&line.runner))
    }

    /// How many classes precede the most urgent call that waits for the server.
    fn top(&self, now: Nanos, at: ServerId) -> Option<u64> {
        let waiting = self.lines(at).flat_map(|line| &line.waiting);
        waiting.map(|call| call.precedence(now, self.limits.ageing)).min()
    }

    /// Gives a slot to the call that is next for what the server has loaded, while it has its turn.
    fn grant(&mut self, now: Nanos, at: ServerId) -> bool {
        let server = &self.servers[at.0];
        let (free, slots) = (server.free(), server.slots);
        if !server.up || server.is_stale(now, self.limits.resident_for) {
            return false;
        }
        let Some(runner) = server.loaded().cloned() else { return false };
        let Some(top) = self.top(now, at) else {
            self.contend(at, None);
            return false;
        };
        let over = self.turn_is_over(now, at, &runner, top);
        if over || free == 0 {
            return false;
        }
        let Some(next) = self.next_of(now, &runner, top) else { return false };
        // Slots are gathered for it: nothing else is granted meanwhile.
        let needed = next.slots.min(slots);
        if needed > free {
            return false;
        }
        self.queue.remove(next.call, &runner);
        self.accounts.granted(now, next.agent, needed);
        self.servers[at.0].busy += needed;
        if let Some(call) = self.calls.get_mut(&next.call) {
            (call.slots, call.granted) = (needed, Some(Granted { at: now, server: at }));
        }
        self.commands.push_back(Command::Grant { call: next.call, server: at });
        true
    }

    fn next_of(&self, now: Nanos, runner: &Runner, top: u64) -> Option<Waiting> {
        let line = self.queue.line(runner)?;
        let reach = line.waiting.iter().filter(|call| call.precedence(now, self.limits.ageing) <= top);
        reach.min_by_key(|call| (self.accounts.rank(now, call.agent), !call.begun, call.call)).copied()
    }

    /// Whether others who wait with the same urgency have let this one have its quantum. It begins when they come.
    fn turn_is_over(&mut self, now: Nanos, at: ServerId, runner: &Runner, top: u64) -> bool {
        let others = self.rivals(now, at, runner, top).next().is_some();
        if !others {
            self.contend(at, None);
            return false;
        }
        let until = match &self.servers[at.0].resident {
            Resident::Loaded { until: Some(until), .. } => *until,
            Resident::Unknown | Resident::Loading { .. } | Resident::Loaded { .. } => {
                let until = now + self.quantum(runner);
                self.contend(at, Some(until));
                until
            }
        };
        now >= until
    }

    fn contend(&mut self, at: ServerId, turn: Option<Nanos>) {
        if let Resident::Loaded { until, .. } = &mut self.servers[at.0].resident {
            *until = turn;
        }
    }

    /// What else waits so urgently, and nobody else has loaded.
    fn rivals(&self, now: Nanos, at: ServerId, runner: &Runner, top: u64) -> impl Iterator<Item = &Line> {
        let lines = self.lines(at).filter(move |line| &line.runner != runner);
        lines
            .filter(move |line| !self.is_elsewhere(at, &line.runner))
            .filter(move |line| line.reaches(top, now, self.limits.ageing))
    }

    fn is_elsewhere(&self, than: ServerId, runner: &Runner) -> bool {
        let others = self.servers.iter().enumerate().filter(|&(at, server)| at != than.0 && server.up);
        others.filter_map(|(_, server)| server.runner()).any(|loaded| loaded == runner)
    }

    /// The runner's part of a quantum for each that is in demand: as the weights of the agents that have calls for it.
    fn quantum(&self, runner: &Runner) -> Millis {
        let mut demand: BTreeMap<&Runner, BTreeSet<AgentIx>> = BTreeMap::new();
        for call in self.calls.values() {
            demand.entry(&call.runner).or_default().insert(call.agent);
        }
        let weight = |agents: &BTreeSet<AgentIx>| {
            agents.iter().map(|&agent| u64::from(self.accounts.weight(agent))).sum::<u64>()
        };
        let own = demand.get(runner).map_or(0, weight);
        let all: u64 = demand.values().map(weight).sum();
        let full = self.limits.quantum.0;
        let share = (full * own * demand.len() as u64).checked_div(all).unwrap_or(full);
        Millis(share.max(full / 4))
    }

    /// Loads what has its turn next, once nothing is in flight.
    fn switch(&mut self, now: Nanos, at: ServerId) -> bool {
        let server = &self.servers[at.0];
        if !server.up || server.is_loading() || server.busy > 0 {
            return false;
        }
        let Some(top) = self.top(now, at) else {
            if let Resident::Loaded { proven: false, .. } = server.resident {
                self.servers[at.0].resident = Resident::Unknown;
            }
            return false;
        };
        if let Some(resident) = server.runner().cloned() {
            self.queue.goes_last(&resident);
        }
        let ageing = self.limits.ageing;
        let candidates = || self.lines(at).filter(|line| line.reaches(top, now, ageing));
        let elsewhere = |line: &&Line| self.is_elsewhere(at, &line.runner);
        let own = candidates().find(|line| !elsewhere(line));
        // One that another server has loaded, and is too busy for.
        let Some(line) = own.or_else(|| candidates().find(|line| !self.is_being_loaded(&line.runner))) else {
            return false;
        };
        let runner = line.runner.clone();
        let embeds = line.waiting.first().and_then(|first| self.calls.get(&first.call)).is_some_and(|it| it.embeds);
        self.queue.goes_last(&runner);
        self.switches += 1;
        self.servers[at.0].resident = Resident::Loading { runner: runner.clone(), since: now };
        self.commands.push_back(Command::Load { server: at, runner, embeds });
        true
    }

    fn is_being_loaded(&self, runner: &Runner) -> bool {
        self.servers.iter().any(|server| server.is_loading() && server.runner() == Some(runner))
    }

    fn refused(&self, bound: Bound, ahead: usize) -> Refused {
        let slots: u32 = self.servers.iter().map(|server| server.slots).sum();
        #[expect(clippy::cast_precision_loss, reason = "bounded by the queue")]
        let (ahead, loads) = (ahead as f64 / f64::from(slots), self.queue.lines().len() as f64);
        let wait_ms = (ahead * self.pace.call_ms + loads * self.pace.load_ms).clamp(1e3, 60e3);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between a second and a minute")]
        let seconds = (wait_ms / 1e3).ceil() as u64;
        Refused { bound, retry_after: Millis::from_secs(seconds) }
    }
}

#[cfg(test)]
mod tests;
