//! The task queue: who waits, who works, and what a late or repeated message changes (nothing).
//!
//! Invariants: a task has at most one holder; it ends once; a task that loses its lease is queued again in its
//! old place, or given up. Each agent's line is first in, first out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    id::{AgentName, AgentType, Fence, InstanceId, Side},
    spec::TaskPolicy,
    time::{Nanos, Now},
};

use super::{
    change::{Change, LeaseEnd},
    task::{Archived, Completion, Draw, Granted, Lease, Report, State, Task, TaskId},
};

pub(super) struct Queue {
    policy: TaskPolicy,
    tasks: HashMap<TaskId, Task>,
    lines: HashMap<AgentName, BTreeMap<u64, TaskId>>,
    /// Waiting tasks that were addressed to a type: those that another agent may take over, longest wait first.
    shared: HashMap<AgentType, BTreeSet<(Nanos, u64, TaskId)>>,
    /// In the order in which they were granted.
    held: HashMap<InstanceId, Vec<TaskId>>,
    deadlines: BTreeSet<(Nanos, TaskId)>,
    queued: u64,
    last_order: u64,
    last_seq: u64,
}

/// Who asks for a task.
pub(super) struct Asker<'a> {
    pub(super) instance: InstanceId,
    pub(super) agent: &'a AgentName,
    pub(super) agent_type: &'a AgentType,
    pub(super) side: Side,
    /// The agent's fence, if this is its active instance; else there is nothing new for it.
    pub(super) fence: Option<Fence>,
    pub(super) places: u32,
}

impl Queue {
    /// Leases of before stay valid and get their full length again: nobody could report while we were away.
    pub(super) fn restore(
        policy: TaskPolicy,
        now: Now,
        tasks: BTreeMap<TaskId, Task>,
        last_order: u64,
        last_seq: u64,
    ) -> Self {
        let mut queue = Self {
            policy,
            tasks: HashMap::new(),
            lines: HashMap::new(),
            shared: HashMap::new(),
            held: HashMap::new(),
            deadlines: BTreeSet::new(),
            queued: 0,
            last_order,
            last_seq,
        };
        let mut by_grant: Vec<Task> = tasks.into_values().collect();
        by_grant.sort_by_key(|task| match &task.state {
            State::Queued { .. } => (task.submitted, task.order),
            State::Leased(lease) => (lease.granted_at, task.order),
        });
        for mut task in by_grant {
            match task.state {
                State::Queued { .. } => queue.enqueue(task, now.mono),
                State::Leased(mut lease) => {
                    let age = now.wall.since(lease.granted_at);
                    lease.granted = Nanos(now.mono.0.saturating_sub(age.0.saturating_mul(1_000_000)));
                    lease.deadline = now.mono + queue.policy.lease;
                    queue.held.entry(lease.instance).or_default().push(task.id.clone());
                    queue.deadlines.insert((lease.deadline, task.id.clone()));
                    task.state = State::Leased(lease);
                    queue.tasks.insert(task.id.clone(), task);
                }
            }
        }
        queue
    }

    pub(super) fn get(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    pub(super) fn leased(&self) -> u64 {
        self.deadlines.len() as u64
    }

    pub(super) fn is_full(&self) -> bool {
        self.queued >= self.policy.waiting_max
    }

    pub(super) fn held_by(&self, instance: InstanceId) -> &[TaskId] {
        self.held.get(&instance).map_or(&[], Vec::as_slice)
    }

    pub(super) fn next_timeout(&self) -> Option<Nanos> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    pub(super) fn submit(
        &mut self,
        now: Now,
        id: TaskId,
        agent: AgentName,
        agent_type: AgentType,
        draw: Option<Draw>,
        changes: &mut Vec<Change>,
    ) {
        self.last_order += 1;
        let task = Task {
            id,
            order: self.last_order,
            agent,
            agent_type,
            draw,
            attempts: 0,
            revoked: 0,
            submitted: now.wall,
            state: State::Queued { since: now.mono },
        };
        changes.push(Change::Queued { task: task.clone() });
        self.enqueue(task, now.mono);
    }

    /// A task for the asker: the one it holds already if it can hold no more than that, or the next in line.
    pub(super) fn next(&mut self, now: Now, asker: &Asker<'_>, changes: &mut Vec<Change>) -> Option<Granted> {
        if asker.places <= 1 {
            while let Some(id) = self.held_by(asker.instance).first().cloned() {
                let lease = self.lose(now, &id, LeaseEnd::AskedAgain, changes)?;
                if self.tasks.contains_key(&id) {
                    return self.grant(now, id, lease, changes);
                }
            }
        } else if self.held_by(asker.instance).len() >= asker.places as usize {
            return None;
        }
        let fence = asker.fence?;
        let id = self.next_in_line(now.mono, asker)?;
        let lease = Lease {
            instance: asker.instance,
            agent: asker.agent.clone(),
            side: asker.side,
            fence,
            granted: now.mono,
            granted_at: now.wall,
            deadline: now.mono,
        };
        self.grant(now, id, lease, changes)
    }

    /// `archived` is what the store knows of a task that is not here any more.
    pub(super) fn complete(
        &mut self,
        now: Now,
        id: &TaskId,
        by: InstanceId,
        report: Report,
        archived: Option<Archived>,
        changes: &mut Vec<Change>,
    ) -> Completion {
        let Some(task) = self.tasks.get(id) else {
            return match archived {
                Some(Archived { completed_by }) if completed_by == Some(by) => Completion::Repeated,
                Some(_) => Completion::Conflict,
                None => Completion::Unknown,
            };
        };
        let State::Leased(lease) = &task.state else { return Completion::Conflict };
        if lease.instance != by {
            return Completion::Conflict;
        }
        let lease = lease.clone();
        self.unhold(id, &lease);
        let seq = self.finish(now, id, Some((report, lease)), changes);
        seq.map_or(Completion::Unknown, |seq| Completion::Accepted { seq })
    }

    /// The holder makes progress: its lease runs its full length again.
    pub(super) fn renew(&mut self, now: Nanos, id: &TaskId, by: InstanceId) {
        let Some(Task { state: State::Leased(lease), .. }) = self.tasks.get_mut(id) else { return };
        if lease.instance == by {
            self.deadlines.remove(&(lease.deadline, id.clone()));
            lease.deadline = now + self.policy.lease;
            self.deadlines.insert((lease.deadline, id.clone()));
        }
    }

    pub(super) fn expire(&mut self, now: Now, changes: &mut Vec<Change>) {
        while let Some((at, id)) = self.deadlines.first().cloned()
            && at <= now.mono
        {
            self.lose(now, &id, LeaseEnd::Expired, changes);
        }
    }

    /// Ends every lease of the instance.
    pub(super) fn take_back(&mut self, now: Now, instance: InstanceId, end: LeaseEnd, changes: &mut Vec<Change>) {
        for id in self.held.get(&instance).cloned().unwrap_or_default() {
            self.lose(now, &id, end, changes);
        }
    }

    fn next_in_line(&self, now: Nanos, asker: &Asker<'_>) -> Option<TaskId> {
        if let Some((_, id)) = self.lines.get(asker.agent).and_then(BTreeMap::first_key_value) {
            return Some(id.clone());
        }
        let (since, _, id) = self.shared.get(asker.agent_type)?.first()?;
        (*since + self.policy.takeover <= now).then(|| id.clone())
    }

    fn grant(&mut self, now: Now, id: TaskId, lease: Lease, changes: &mut Vec<Change>) -> Option<Granted> {
        let mut task = self.dequeue(&id)?;
        let lease = Lease { granted: now.mono, granted_at: now.wall, deadline: now.mono + self.policy.lease, ..lease };
        task.attempts += 1;
        let attempt = task.attempts;
        changes.push(Change::Leased { id: id.clone(), attempts: attempt, lease: lease.clone() });
        self.held.entry(lease.instance).or_default().push(id.clone());
        self.deadlines.insert((lease.deadline, id.clone()));
        task.state = State::Leased(lease);
        self.tasks.insert(id.clone(), task);
        Some(Granted { id, attempt })
    }

    /// Ends a lease without a completion: the task is queued again, or given up if it had its attempts.
    fn lose(&mut self, now: Now, id: &TaskId, end: LeaseEnd, changes: &mut Vec<Change>) -> Option<Lease> {
        let State::Leased(lease) = self.tasks.get(id)?.state.clone() else { return None };
        self.unhold(id, &lease);
        let mut task = self.tasks.remove(id)?;
        task.revoked += u32::from(matches!(end, LeaseEnd::Revoked | LeaseEnd::Returned));
        task.state = State::Queued { since: now.mono };
        changes.push(Change::LeaseLost { task: task.clone(), end, lease: lease.clone() });
        let spent = task.attempts - task.revoked >= self.policy.attempts_max;
        self.enqueue(task, now.mono);
        if spent {
            self.finish(now, id, None, changes);
        }
        Some(lease)
    }

    fn finish(&mut self, now: Now, id: &TaskId, by: Option<(Report, Lease)>, changes: &mut Vec<Change>) -> Option<u64> {
        let task = self.dequeue(id)?;
        self.last_seq += 1;
        let lease_micros = by.as_ref().map_or(0, |(_, lease)| now.mono.0.saturating_sub(lease.granted.0) / 1000);
        changes.push(Change::Finished { task, seq: self.last_seq, at: now.wall, by, lease_micros });
        Some(self.last_seq)
    }

    fn unhold(&mut self, id: &TaskId, lease: &Lease) {
        self.deadlines.remove(&(lease.deadline, id.clone()));
        if let Some(held) = self.held.get_mut(&lease.instance) {
            held.retain(|other| other != id);
            if held.is_empty() {
                self.held.remove(&lease.instance);
            }
        }
    }

    fn enqueue(&mut self, mut task: Task, since: Nanos) {
        task.state = State::Queued { since };
        self.queued += 1;
        self.lines.entry(task.agent.clone()).or_default().insert(task.order, task.id.clone());
        if task.draw.is_some() {
            let place = (since, task.order, task.id.clone());
            self.shared.entry(task.agent_type.clone()).or_default().insert(place);
        }
        self.tasks.insert(task.id.clone(), task);
    }

    /// Takes a task out, and out of the line if it waits in one.
    fn dequeue(&mut self, id: &TaskId) -> Option<Task> {
        let task = self.tasks.remove(id)?;
        if let State::Queued { since } = task.state {
            self.queued -= 1;
            if let Some(line) = self.lines.get_mut(&task.agent) {
                line.remove(&task.order);
            }
            if let Some(shared) = self.shared.get_mut(&task.agent_type) {
                shared.remove(&(since, task.order, id.clone()));
            }
        }
        Some(task)
    }
}
