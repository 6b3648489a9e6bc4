//! The machine that decides which call gets a slot and which model is loaded.
//!
//! Precedence: the loaded model's calls for at most one quantum while others wait, and among them the agent
//! that used least slot time. Before a switch everything in flight is drained, and the load is a command of
//! its own, so that no impatient caller can abort it. Classes, ageing and weights belong into the rank that
//! [`Queue::pop`] is given; a call's affinity is its model.

use std::collections::{BTreeMap, VecDeque};

use super::{Bound, Limits, Refused, accounts::Accounts, queue::Queue};
use crate::{
    id::{AgentName, ModelName},
    time::{Millis, Nanos},
};

/// A call of a model, numbered by the shell; smaller numbers came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What the shell has to do. Taken by [`Scheduler::poll`] until there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The call holds a slot. The shell answers with [`Scheduler::finished`] once the model server is done with it.
    Grant { call: CallId },
    /// Load the model while nothing is in flight. The shell answers with [`Scheduler::loaded`].
    Load { model: ModelName },
}

#[derive(Clone, Debug)]
pub struct Scheduler {
    limits: Limits,
    calls: BTreeMap<CallId, Call>,
    accounts: Accounts,
    queue: Queue,
    resident: Resident,
    in_flight: u32,
    switches: u64,
    pace: Pace,
    commands: VecDeque<Command>,
    /// Another process decides from here on.
    closed: bool,
}

#[derive(Clone, Debug)]
struct Call {
    agent: AgentName,
    model: ModelName,
    granted: Option<Nanos>,
}

/// What the model server has in memory, as far as is known.
#[derive(Clone, Debug)]
enum Resident {
    Unknown,
    Loading {
        model: ModelName,
        since: Nanos,
    },
    Loaded {
        model: ModelName,
        /// False if the load failed. Calls pass all the same, so that each gets the model server's own answer.
        proven: bool,
        last_used: Nanos,
        /// Since when another model has been waiting, and how many calls were granted since.
        contended: Option<(Nanos, u32)>,
    },
}

/// Running means of what just happened, for `Retry-After` alone.
#[derive(Clone, Copy, Debug)]
struct Pace {
    call_ms: f64,
    load_ms: f64,
}

impl Pace {
    fn learn(mean: &mut f64, sample: Millis) {
        *mean += (sample.as_secs_f64() * 1e3 - *mean) / 8.0;
    }
}

impl Scheduler {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Limits { slots: limits.slots.max(1), ..limits },
            calls: BTreeMap::new(),
            accounts: Accounts::default(),
            queue: Queue::default(),
            resident: Resident::Unknown,
            in_flight: 0,
            switches: 0,
            pace: Pace { call_ms: 1000.0, load_ms: 1000.0 },
            commands: VecDeque::new(),
            closed: false,
        }
    }

    /// A call that the process before this one has in flight: it holds a slot and is charged to its agent until
    /// [`Scheduler::finished`]. To be told before anything is asked for. What is in flight is of the model that is
    /// loaded, as no two ever are.
    pub fn adopt(&mut self, now: Nanos, call: CallId, agent: AgentName, model: ModelName) {
        self.assume(now, model.clone());
        self.accounts.adopted(now, &agent);
        self.in_flight += 1;
        self.calls.insert(call, Call { agent, model, granted: Some(now) });
    }

    /// The model that the process before this one left loaded. Ignored where more is known.
    pub fn assume(&mut self, now: Nanos, model: ModelName) {
        if matches!(self.resident, Resident::Unknown) {
            self.resident = Resident::Loaded { model, proven: true, last_used: now, contended: None };
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

    /// What holds a slot.
    pub fn in_flight(&self) -> impl Iterator<Item = (CallId, &AgentName, &ModelName)> {
        self.calls.iter().filter(|(_, call)| call.granted.is_some()).map(|(&id, call)| (id, &call.agent, &call.model))
    }

    /// The model that is being loaded.
    pub fn loading(&self) -> Option<&ModelName> {
        match &self.resident {
            Resident::Loading { model, .. } => Some(model),
            Resident::Unknown | Resident::Loaded { .. } => None,
        }
    }

    /// The model that is loaded, as far as is known.
    pub fn resident(&self) -> Option<&ModelName> {
        match &self.resident {
            Resident::Loaded { model, proven: true, .. } => Some(model),
            Resident::Unknown | Resident::Loading { .. } | Resident::Loaded { .. } => None,
        }
    }

    /// A call asks for a slot. Ids must not be used twice.
    pub fn enqueue(&mut self, now: Nanos, call: CallId, agent: AgentName, model: ModelName) -> Result<(), Refused> {
        if self.accounts.waiting(&agent) >= self.limits.per_agent_max {
            return Err(self.refused(Bound::Agent, self.accounts.waiting(&agent) * self.accounts.active().max(1)));
        }
        if self.queue.len() >= self.limits.waiting_max {
            return Err(self.refused(Bound::Total, self.queue.len()));
        }
        self.accounts.enqueued(now, &agent, self.limits.debt_max);
        self.queue.push(call, &agent, &model);
        self.calls.insert(call, Call { agent, model, granted: None });
        self.advance(now);
        Ok(())
    }

    /// The model server is done with the call: it answered, failed, or its connection is closed.
    pub fn finished(&mut self, now: Nanos, call: CallId) {
        let Some(Call { agent, model, granted }) = self.calls.remove(&call) else { return };
        match granted {
            Some(started) => {
                self.in_flight -= 1;
                if let Resident::Loaded { last_used, .. } = &mut self.resident {
                    *last_used = now;
                }
                self.accounts.settled(now, &agent, started);
                Pace::learn(&mut self.pace.call_ms, now.since(started));
            }
            None => {
                self.queue.remove(call, &agent, &model);
                self.accounts.withdrawn(now, &agent);
            }
        }
        self.advance(now);
    }

    /// The caller gave up. A waiting call is forgotten; one in flight keeps its slot until
    /// [`Scheduler::finished`], because the model server may still be working on it.
    pub fn left(&mut self, now: Nanos, call: CallId) {
        if self.calls.get(&call).is_some_and(|call| call.granted.is_none()) {
            self.finished(now, call);
        }
    }

    /// The load that was commanded has ended. What was not commanded is ignored.
    pub fn loaded(&mut self, now: Nanos, model: &ModelName, ok: bool) {
        let Resident::Loading { model: loading, since } = &self.resident else { return };
        if loading != model {
            return;
        }
        if ok {
            Pace::learn(&mut self.pace.load_ms, now.since(*since));
        }
        self.resident = Resident::Loaded { model: model.clone(), proven: ok, last_used: now, contended: None };
        self.advance(now);
    }

    pub fn poll(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    pub fn slots_busy(&self) -> u32 {
        self.in_flight
    }

    pub fn calls_waiting(&self) -> usize {
        self.queue.len()
    }

    /// Loads commanded so far.
    pub fn switches(&self) -> u64 {
        self.switches
    }

    fn advance(&mut self, now: Nanos) {
        while !self.closed && self.advance_once(now) {}
    }

    /// One grant or one load; false if there is nothing to do until something happens.
    fn advance_once(&mut self, now: Nanos) -> bool {
        match &mut self.resident {
            Resident::Loading { .. } => false,
            Resident::Unknown => self.switch(now, None),
            Resident::Loaded { model, proven, last_used, contended } => {
                let mine = self.queue.is_waiting(model);
                let others = self.queue.others_wait(model);
                *contended = others.then(|| contended.unwrap_or((now, 0)));
                let over = contended.is_some_and(|(since, granted)| {
                    granted >= self.limits.quantum_calls || now.since(since) >= self.limits.quantum
                });
                let idle = self.in_flight == 0;
                let stale = idle && now.since(*last_used) >= self.limits.resident_for;
                let (model, proven) = (model.clone(), *proven);
                match (mine, others) {
                    (true, _) if !over && !stale => self.grant(now, &model),
                    (true, _) | (_, true) if idle => self.switch(now, Some(&model)),
                    (false, false) if idle && !proven => {
                        self.resident = Resident::Unknown;
                        false
                    }
                    (_, _) => false,
                }
            }
        }
    }

    fn grant(&mut self, now: Nanos, model: &ModelName) -> bool {
        if self.in_flight >= self.limits.slots {
            return false;
        }
        let accounts = &self.accounts;
        let Some(id) = self.queue.pop(model, |agent| accounts.rank(now, agent)) else { return false };
        let Some(call) = self.calls.get_mut(&id) else { return false };
        call.granted = Some(now);
        self.accounts.granted(now, &call.agent);
        self.in_flight += 1;
        if let Resident::Loaded { contended: Some((_, granted)), .. } = &mut self.resident {
            *granted += 1;
        }
        self.commands.push_back(Command::Grant { call: id });
        true
    }

    /// Nothing is in flight: the next model may be loaded.
    fn switch(&mut self, now: Nanos, from: Option<&ModelName>) -> bool {
        let Some(model) = self.queue.next_turn(from) else { return false };
        self.switches += 1;
        self.resident = Resident::Loading { model: model.clone(), since: now };
        self.commands.push_back(Command::Load { model });
        true
    }

    fn refused(&self, bound: Bound, ahead: usize) -> Refused {
        let ahead = ahead as f64 / f64::from(self.limits.slots);
        let loads = self.queue.models() as f64;
        let wait_ms = (ahead * self.pace.call_ms + loads * self.pace.load_ms).clamp(1e3, 60e3);
        Refused { bound, retry_after: Millis::from_secs((wait_ms / 1e3).ceil() as u64) }
    }
}

#[cfg(test)]
mod tests;
