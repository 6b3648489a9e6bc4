//! The task queue: who waits, who works, and what a late or repeated message changes (nothing).
//!
//! Invariants: a task has at most one holder; it ends once; a task that loses its lease is queued again in its
//! old place, or given up. Each agent's line goes by rank, and among equals the first come is the first served.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    id::{AgentName, AgentType, Fence, InstanceId, Side},
    spec::TaskPolicy,
    time::{Millis, Nanos, Now, UnixMillis},
};

use super::{
    change::{Change, LeaseEnd},
    lines::Lines,
    machine::Progress,
    pace::Pace,
    priority::Priority,
    task::{Archived, Completion, Draw, End, Granted, Lease, Report, State, Task, TaskId, Told},
};

pub(super) struct Queue {
    policy: TaskPolicy,
    tasks: HashMap<TaskId, Task>,
    lines: Lines,
    /// When they may be begun.
    delayed: BTreeSet<(Nanos, TaskId)>,
    /// Of tasks that nobody works on: when they must have been begun.
    begin_by: BTreeSet<(Nanos, TaskId)>,
    /// In the order in which they were granted.
    held: HashMap<InstanceId, Vec<TaskId>>,
    /// Of leases.
    deadlines: BTreeSet<(Nanos, TaskId)>,
    /// Bodies of tasks that nobody works on.
    bytes: u64,
    pace: Pace,
    last_order: u64,
    last_seq: u64,
    last_arrival: UnixMillis,
    /// Agents for whom there may be something new.
    stirred: BTreeSet<AgentName>,
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

/// A task as it is let in.
pub(super) struct Entry {
    pub(super) id: TaskId,
    pub(super) agent: AgentName,
    pub(super) agent_type: AgentType,
    pub(super) draw: Option<Draw>,
    pub(super) priority: Priority,
    pub(super) delay: Millis,
    pub(super) begin_within: Option<Millis>,
    pub(super) attempts_max: Option<u32>,
    pub(super) bytes: u64,
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
            lines: Lines::default(),
            delayed: BTreeSet::new(),
            begin_by: BTreeSet::new(),
            held: HashMap::new(),
            deadlines: BTreeSet::new(),
            bytes: 0,
            pace: Pace::default(),
            last_order,
            last_seq,
            last_arrival: UnixMillis::default(),
            stirred: BTreeSet::new(),
        };
        let mut by_grant: Vec<Task> = tasks.into_values().collect();
        by_grant.sort_by_key(|task| match &task.state {
            State::Queued { .. } | State::Delayed { .. } => (task.submitted, task.order),
            State::Leased(lease) => (lease.granted_at, task.order),
        });
        for mut task in by_grant {
            queue.last_arrival = queue.last_arrival.max(task.submitted);
            // A wall clock that was set back must not make anybody wait longer than it was to wait at first.
            let left = |until: UnixMillis, at_most: Millis| until.since(now.wall).min(at_most);
            task.begin_due = task.begin_by.map(|by| now.mono + left(by, by.since(task.submitted)));
            match task.state {
                State::Queued { .. } => queue.enqueue(now, task),
                State::Delayed { until, .. } => {
                    let put_off_by_us = task.failed_by.is_some();
                    let at_most = if put_off_by_us { queue.policy.backoff_max } else { until.since(task.submitted) };
                    queue.put_off(now, until, left(until, at_most), task);
                }
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
        self.lines.count()
    }

    pub(super) fn delayed(&self) -> u64 {
        self.delayed.len() as u64
    }

    pub(super) fn leased(&self) -> u64 {
        self.deadlines.len() as u64
    }

    /// If there is no room for so many bytes more: how long until there may be.
    pub(super) fn full_for(&self, now: Now, bytes: u64) -> Option<Millis> {
        let waiting = self.queued() + self.delayed();
        let too_many = (waiting + 1).saturating_sub(self.policy.waiting_max);
        // Even a body beyond the whole bound gets in alone, so that what is refused is worth trying again.
        let too_heavy = waiting > 0 && self.bytes + bytes > self.policy.waiting_bytes_max;
        // Whoever comes back finds others who did too: a hundredth of the queue is worth waiting for.
        let worthwhile = too_many.max(self.policy.waiting_max / 100);
        (too_many > 0 || too_heavy).then(|| self.pace.time_for(now.mono, worthwhile))
    }

    pub(super) fn held_by(&self, instance: InstanceId) -> &[TaskId] {
        self.held.get(&instance).map_or(&[], Vec::as_slice)
    }

    pub(super) fn next_timeout(&self) -> Option<Nanos> {
        [&self.deadlines, &self.delayed, &self.begin_by].into_iter().filter_map(|all| Some(all.first()?.0)).min()
    }

    /// When the longest waiting task of the type may be taken over.
    pub(super) fn takeover_at(&self, agent_type: &AgentType) -> Option<Nanos> {
        self.lines.longest(agent_type).map(|(since, _)| since + self.policy.takeover)
    }

    pub(super) fn take_stirred(&mut self) -> BTreeSet<AgentName> {
        std::mem::take(&mut self.stirred)
    }

    pub(super) fn stir(&mut self, agent: AgentName) {
        self.stirred.insert(agent);
    }

    pub(super) fn submit(&mut self, now: Now, entry: Entry, changes: &mut Vec<Change>) {
        let order = self.next_order();
        let arrived = self.arrival(now);
        let mut task = Task {
            id: entry.id,
            order,
            priority: entry.priority,
            rank: entry.priority.rank(arrived, self.policy.ageing),
            agent: entry.agent,
            agent_type: entry.agent_type,
            draw: entry.draw,
            bytes: entry.bytes,
            attempts: 0,
            attempts_max: entry.attempts_max.unwrap_or(self.policy.attempts_max),
            revoked: 0,
            submitted: now.wall,
            begin_by: entry.begin_within.map(|within| now.wall + within),
            begin_due: entry.begin_within.map(|within| now.mono + within),
            failed_by: None,
            state: State::Queued { since: now.mono },
        };
        if entry.delay > Millis::ZERO {
            let until = now.wall + entry.delay;
            task.state = State::Delayed { until, due: now.mono + entry.delay };
            changes.push(Change::Queued { task: task.clone() });
            self.put_off(now, until, entry.delay, task);
        } else {
            changes.push(Change::Queued { task: task.clone() });
            self.enqueue(now, task);
        }
    }

    /// A task that had ended begins anew, behind those that wait, with as many attempts as it had at first.
    pub(super) fn revive(&mut self, now: Now, mut task: Task, changes: &mut Vec<Change>) {
        task.order = self.next_order();
        let arrived = self.arrival(now);
        task.rank = task.priority.rank(arrived, self.policy.ageing);
        task.attempts_max = task.counted() + self.policy.attempts_max;
        task.begin_by = None;
        task.begin_due = None;
        task.failed_by = None;
        task.state = State::Queued { since: now.mono };
        changes.push(Change::Revived { task: task.clone() });
        self.enqueue(now, task);
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
        self.grant(now, id, asker.lease(now, fence), changes)
    }

    /// A task that came in with the asker's own question, and is its.
    pub(super) fn take_in(
        &mut self,
        now: Now,
        asker: &Asker<'_>,
        id: TaskId,
        bytes: u64,
        changes: &mut Vec<Change>,
    ) -> Option<Granted> {
        let fence = asker.fence?;
        let entry = Entry {
            id: id.clone(),
            agent: asker.agent.clone(),
            agent_type: asker.agent_type.clone(),
            draw: None,
            priority: Priority::default(),
            delay: Millis::ZERO,
            begin_within: None,
            attempts_max: None,
            bytes,
        };
        self.submit(now, entry, changes);
        self.grant(now, id, asker.lease(now, fence), changes)
    }

    /// `archived` is what the store knows of a task that is not here any more.
    pub(super) fn complete(
        &mut self,
        now: Now,
        id: &TaskId,
        by: InstanceId,
        told: Told,
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
        let said_before =
            task.failed_by.is_some_and(|(who, attempt)| who == by && told.attempt.unwrap_or(attempt) == attempt);
        let lease = match &task.state {
            State::Leased(lease) if lease.instance == by && told.attempt.is_none_or(|it| it == task.attempts) => {
                lease.clone()
            }
            _ if said_before => return Completion::Repeated,
            _ => return Completion::Conflict,
        };
        // What carries less than it must is a failure (R91), whatever its holder says of it.
        let good = told.report == Report::Completed { empty: false };
        let again = !good && !told.for_good;
        match self.backoff(now, task).filter(|_| again) {
            Some(wait) => {
                self.retry(now, id, (told.report, lease), wait, changes);
                Completion::Retried
            }
            None => {
                self.unhold(id, &lease);
                let how = if good { End::Completed } else { End::Failed };
                let seq = self.finish(now, id, how, Some((told.report, lease)), changes);
                seq.map_or(Completion::Unknown, |seq| Completion::Accepted { seq })
            }
        }
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

    /// The holder says so itself.
    pub(super) fn progress(&mut self, now: Now, id: &TaskId, by: InstanceId, attempt: Option<u32>) -> Progress {
        match self.tasks.get(id) {
            Some(Task { state: State::Leased(lease), attempts, .. })
                if lease.instance == by && attempt.is_none_or(|it| it == *attempts) =>
            {
                self.renew(now.mono, id, by);
                Progress::Renewed
            }
            Some(_) => Progress::Conflict,
            None => Progress::Unknown,
        }
    }

    /// False if it is not here any more.
    pub(super) fn cancel(&mut self, now: Now, id: &TaskId, changes: &mut Vec<Change>) -> bool {
        self.lose(now, id, LeaseEnd::Cancelled, changes);
        // One that was given up with its lease has ended just now.
        self.finish(now, id, End::Cancelled, None, changes).is_some()
    }

    /// The answer with the task found nobody.
    pub(super) fn undelivered(&mut self, now: Now, granted: &Granted, to: InstanceId, changes: &mut Vec<Change>) {
        let is_held = self.tasks.get(&granted.id).is_some_and(|task| {
            task.attempts == granted.attempt && matches!(&task.state, State::Leased(lease) if lease.instance == to)
        });
        if is_held {
            self.lose(now, &granted.id, LeaseEnd::Undelivered, changes);
        }
    }

    /// Ends leases whose time is over, lets in what was put off, and gives up what was not begun in time.
    pub(super) fn expire(&mut self, now: Now, changes: &mut Vec<Change>) {
        while let Some(id) = due(&self.deadlines, now.mono) {
            self.lose(now, &id, LeaseEnd::Expired, changes);
        }
        while let Some(id) = due(&self.delayed, now.mono) {
            if let Some(task) = self.dequeue(&id) {
                self.enqueue(now, task);
            }
        }
        while let Some(id) = due(&self.begin_by, now.mono) {
            self.finish(now, &id, End::Expired, None, changes);
        }
    }

    /// Ends every lease of the instance.
    pub(super) fn take_back(&mut self, now: Now, instance: InstanceId, end: LeaseEnd, changes: &mut Vec<Change>) {
        for id in self.held.get(&instance).cloned().unwrap_or_default() {
            self.lose(now, &id, end, changes);
        }
    }

    fn next_in_line(&self, now: Nanos, asker: &Asker<'_>) -> Option<TaskId> {
        if let Some(id) = self.lines.first(asker.agent) {
            return Some(id.clone());
        }
        let (since, id) = self.lines.longest(asker.agent_type)?;
        (since + self.policy.takeover <= now).then(|| id.clone())
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

    /// How long a task that failed waits for its next attempt; none if there is none.
    fn backoff(&self, now: Now, task: &Task) -> Option<Millis> {
        if task.counted() >= task.attempts_max {
            return None;
        }
        let doubled = self.policy.backoff.0.saturating_mul(1 << task.counted().saturating_sub(1).min(32));
        let longest = doubled.min(self.policy.backoff_max.0);
        // Up to a quarter less, so that what failed together does not come back together.
        let wait = Millis(longest - longest / 4 * spread(task.order) / 0xff);
        task.begin_by.is_none_or(|by| now.wall + wait < by).then_some(wait)
    }

    fn retry(
        &mut self,
        now: Now,
        id: &TaskId,
        (report, lease): (Report, Lease),
        wait: Millis,
        changes: &mut Vec<Change>,
    ) {
        self.unhold(id, &lease);
        let Some(mut task) = self.tasks.remove(id) else { return };
        let until = now.wall + wait;
        task.failed_by = Some((lease.instance, task.attempts));
        task.state = State::Delayed { until, due: now.mono + wait };
        let lease_micros = held_for(now, &lease);
        changes.push(Change::Retried { task: task.clone(), report, lease, lease_micros });
        self.put_off(now, until, wait, task);
    }

    /// Ends a lease without a report: the task is queued again, or given up if it had its attempts.
    fn lose(&mut self, now: Now, id: &TaskId, end: LeaseEnd, changes: &mut Vec<Change>) -> Option<Lease> {
        let State::Leased(lease) = self.tasks.get(id)?.state.clone() else { return None };
        self.unhold(id, &lease);
        let mut task = self.tasks.remove(id)?;
        task.revoked += u32::from(end.outcome().is_none());
        task.state = State::Queued { since: now.mono };
        changes.push(Change::LeaseLost { task: task.clone(), end, lease: lease.clone() });
        let spent = task.counted() >= task.attempts_max;
        self.enqueue(now, task);
        if spent {
            self.finish(now, id, End::Failed, None, changes);
        }
        Some(lease)
    }

    fn finish(
        &mut self,
        now: Now,
        id: &TaskId,
        how: End,
        by: Option<(Report, Lease)>,
        changes: &mut Vec<Change>,
    ) -> Option<u64> {
        let task = self.dequeue(id)?;
        self.pace.ended(now.mono);
        self.last_seq += 1;
        let lease_micros = by.as_ref().map_or(0, |(_, lease)| held_for(now, lease));
        changes.push(Change::Finished { task, seq: self.last_seq, at: now.wall, how, by, lease_micros });
        Some(self.last_seq)
    }

    fn unhold(&mut self, id: &TaskId, lease: &Lease) {
        self.deadlines.remove(&(lease.deadline, id.clone()));
        self.stirred.insert(lease.agent.clone());
        if let Some(held) = self.held.get_mut(&lease.instance) {
            held.retain(|other| other != id);
            if held.is_empty() {
                self.held.remove(&lease.instance);
            }
        }
    }

    fn enqueue(&mut self, now: Now, mut task: Task) {
        task.state = State::Queued { since: now.mono };
        self.lines.add(&task, now.mono);
        self.stirred.insert(task.agent.clone());
        self.wait(task);
    }

    fn put_off(&mut self, now: Now, until: UnixMillis, wait: Millis, mut task: Task) {
        let due = now.mono + wait;
        task.state = State::Delayed { until, due };
        self.delayed.insert((due, task.id.clone()));
        self.wait(task);
    }

    fn wait(&mut self, task: Task) {
        self.bytes += task.bytes;
        if let Some(due) = task.begin_due {
            self.begin_by.insert((due, task.id.clone()));
        }
        self.tasks.insert(task.id.clone(), task);
    }

    /// Takes a task out, and out of where it waits.
    fn dequeue(&mut self, id: &TaskId) -> Option<Task> {
        let task = self.tasks.remove(id)?;
        match task.state {
            State::Leased(_) => return Some(task),
            State::Queued { since } => self.lines.remove(&task, since),
            State::Delayed { due, .. } => {
                self.delayed.remove(&(due, id.clone()));
            }
        }
        self.bytes = self.bytes.saturating_sub(task.bytes);
        if let Some(due) = task.begin_due {
            self.begin_by.remove(&(due, id.clone()));
        }
        Some(task)
    }

    fn next_order(&mut self) -> u64 {
        self.last_order += 1;
        self.last_order
    }

    /// Wall time that never goes back, so that a clock that jumps does not send anybody to the end of a line.
    fn arrival(&mut self, now: Now) -> UnixMillis {
        self.last_arrival = self.last_arrival.max(now.wall);
        self.last_arrival
    }
}

impl Asker<'_> {
    fn lease(&self, now: Now, fence: Fence) -> Lease {
        Lease {
            instance: self.instance,
            agent: self.agent.clone(),
            side: self.side,
            fence,
            granted: now.mono,
            granted_at: now.wall,
            deadline: now.mono,
        }
    }
}

fn due(all: &BTreeSet<(Nanos, TaskId)>, now: Nanos) -> Option<TaskId> {
    all.first().filter(|(at, _)| *at <= now).map(|(_, id)| id.clone())
}

fn held_for(now: Now, lease: &Lease) -> u64 {
    now.mono.0.saturating_sub(lease.granted.0) / 1000
}

/// Up to 255, and as far from that of the numbers before as can be: multiples of the golden ratio (Knuth, The Art of
/// Computer Programming, 6.4).
fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56
}
