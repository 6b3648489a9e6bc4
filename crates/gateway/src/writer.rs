//! The writer: one thread that owns the machine and the store.
//!
//! It takes everything that waits, applies it to the machine, writes one transaction, and only then publishes and
//! answers. When a transaction fails, the machine is read back from the store and nobody is answered, so that
//! what is in memory never runs ahead of what is on the disk.

mod agents;
mod answer;
mod publish;
mod queue;
mod relay;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bellwether_core::{
    id::InstanceId,
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayIntent},
    spec::{TaskMode, TaskPolicy},
    traffic::{Agents, Change, Granted, TaskId, Traffic},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    board::Board,
    desk::{Ask, Counts, HandedOut, Returns, Tell, Wait},
    limits,
    room::Room,
    store::{Completed, Loaded, Purged, Shown, Store, StoreError},
    target::Claim,
};

pub(crate) struct Writer {
    board: Arc<Board>,
    store: Store,
    traffic: Traffic,
    policy: TaskPolicy,
    agents: Agents,
    /// Of forgotten instances.
    revoked: HashSet<String>,
    counts: Counts,
    last_second: u64,
    /// What the holders of leases claim of their instances.
    claims: HashMap<TaskId, Claim>,
    /// Leases of before this process. Their model calls broke off with the gateway before, so that a failure of theirs is
    /// held against nobody.
    inherited: HashSet<TaskId>,
    /// Of instances whose question for a task is kept open.
    asking: HashMap<InstanceId, Tell<Option<HandedOut>>>,
    /// What the synthetic tasks of instances hold.
    tryouts: HashMap<InstanceId, BTreeMap<String, String>>,
    /// Tasks that were handed out to somebody who had gone.
    returned: mpsc::UnboundedReceiver<(InstanceId, Granted)>,
    way_back: Returns,
    /// Those of the batch in work, and of one that could not be written.
    taken_back: Vec<(InstanceId, Granted)>,
    shows_awaited: HashMap<TaskId, Vec<Watching>>,
    completions_awaited: Vec<Awaited>,
    /// The last purge left something to do.
    purging: bool,
    /// Of the batch in work, to be published after the commit.
    done: Vec<Change>,
    replies: Vec<Reply>,
    /// There are letters for the backend in it.
    posted: bool,
    room: Room,
    /// This batch is the last one: the store goes to another gateway.
    closing: bool,
}

/// Who waits for a task to change or to end.
type Watching = (Wait, Tell<Option<Shown>>);

/// Who waits for the next completion.
struct Awaited {
    after: u64,
    limit: usize,
    tell: Tell<Vec<Completed>>,
}

/// Sends an answer. Dropping it unsent says that the question was not carried out.
type Reply = Box<dyn FnOnce() + Send>;

impl Writer {
    pub(crate) fn new(board: Arc<Board>, store: Store, loaded: Loaded, policy: TaskPolicy, agents: Agents) -> Self {
        let now = board.clock.now();
        let traffic = Traffic::restore(policy.clone(), agents.clone(), loaded.snapshot, now);
        let (way_back, returned) = mpsc::unbounded_channel();
        let room = Room::of(store.path(), agents.len());
        let mut writer = Self {
            board,
            store,
            traffic,
            policy,
            agents,
            revoked: loaded.revoked,
            counts: Counts { delayed: 0, queued: 0, leased: 0, ended: loaded.ended },
            last_second: loaded.last_second,
            claims: HashMap::new(),
            inherited: HashSet::new(),
            asking: HashMap::new(),
            tryouts: HashMap::new(),
            returned,
            way_back,
            taken_back: Vec::new(),
            shows_awaited: HashMap::new(),
            purging: false,
            completions_awaited: Vec::new(),
            done: Vec::new(),
            replies: Vec::new(),
            posted: false,
            room,
            closing: false,
        };
        writer.publish_restored();
        writer
    }

    /// Works until nobody can ask any more, or the store is to be closed. An error means that the store is unusable, reading included.
    pub(crate) async fn run(mut self, mut asks: mpsc::Receiver<Ask>) -> Result<(), StoreError> {
        let mut batch = Vec::with_capacity(limits::BATCH_MAX);
        let mut next_purge = Instant::now() + limits::PURGE_EVERY;
        loop {
            let timeout = match self.traffic.next_timeout() {
                _ if self.purging => Some(Duration::ZERO),
                at => at.map(|at| self.board.clock.until(at)),
            };
            let mut is_over = false;
            tokio::select! {
                biased;
                taken = asks.recv_many(&mut batch, limits::BATCH_MAX) => is_over = taken == 0,
                Some((instance, granted)) = self.returned.recv() => {
                    // Behind those that came before it, and worked off with them.
                    drop(self.way_back.send((instance, granted)));
                }
                () = sleep(timeout.unwrap_or(limits::PURGE_EVERY)) => {}
            }
            let purge = Instant::now() >= next_purge;
            if purge {
                next_purge = Instant::now() + limits::PURGE_EVERY;
            }
            self.work_off(&mut batch, purge)?;
            if is_over || self.closing {
                return self.store.end_work();
            }
        }
    }

    /// One transaction and all that follows from it.
    fn work_off(&mut self, batch: &mut Vec<Ask>, purge: bool) -> Result<(), StoreError> {
        self.room.look();
        self.carry_out(batch)?;
        match self.work(batch, purge) {
            Ok(()) => self.publish_and_answer(),
            Err(error) => {
                if error.is_for_want_of_room() {
                    self.room.fill();
                }
                tracing::error!(error = &error as &dyn std::error::Error, "the store cannot be written");
                batch.clear();
                self.start_over()
            }
        }
    }

    /// What the controller wants, in a transaction of its own: a task that finds no room must not take a cutover with it.
    /// Where there is none for the cutover either, there is what was held back.
    fn carry_out(&mut self, batch: &mut Vec<Ask>) -> Result<(), StoreError> {
        if !batch.iter().any(|ask| matches!(ask, Ask::Intent(..) | Ask::Spool(..))) {
            return Ok(());
        }
        let (mut intents, mut tells, mut spools) = (Vec::new(), Vec::new(), Vec::new());
        let mut others = Vec::with_capacity(batch.len());
        for ask in batch.drain(..) {
            match ask {
                Ask::Intent(intent, tell) => {
                    intents.push(intent);
                    tells.push(tell);
                }
                Ask::Spool(seconds, tell) => spools.push((seconds, tell)),
                other => others.push(other),
            }
        }
        *batch = others;
        for (seconds, tell) in spools.into_iter().filter(|_| !self.room.is_exhausted()).collect::<Vec<_>>() {
            self.keep_seconds(&seconds, tell)?;
        }
        while !intents.is_empty() {
            let error = match self.intents(&intents) {
                Ok(answers) => {
                    self.publish_and_answer()?;
                    tells.into_iter().zip(answers).for_each(|(tell, answer)| answer::tell(tell, answer));
                    return Ok(());
                }
                Err(error) => error,
            };
            let wants_room = error.is_for_want_of_room();
            if wants_room {
                self.room.fill();
            }
            tracing::error!(error = &error as &dyn std::error::Error, "an intent of the controller cannot be written");
            self.start_over()?;
            if !(wants_room && self.room.give_back()) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The controller judges by them, also whether a rollback did its work: they get some of what is held back. What finds
    /// no room is held by the keeper, as nobody tells it otherwise.
    fn keep_seconds(&mut self, seconds: &[Second], tell: Tell<Vec<Second>>) -> Result<(), StoreError> {
        loop {
            let kept = self.spool(seconds.to_vec()).and_then(|numbered| self.store.commit().map(|()| numbered));
            let error = match kept {
                Ok(numbered) => {
                    answer::tell(tell, numbered);
                    return Ok(());
                }
                Err(error) => error,
            };
            self.start_over()?;
            if !error.is_for_want_of_room() {
                tracing::error!(error = &error as &dyn std::error::Error, "seconds cannot be stored");
                return Ok(());
            }
            self.room.fill();
            if !self.room.give_back_half() {
                return Ok(());
            }
        }
    }

    fn intents(&mut self, intents: &[GatewayIntent]) -> Result<Vec<GatewayAnswer>, StoreError> {
        let now = self.board.clock.now();
        let answers = intents.iter().map(|intent| self.intent(now, intent.clone())).collect::<Result<_, _>>()?;
        self.store.commit()?;
        Ok(answers)
    }

    /// Everything up to and including the commit.
    fn work(&mut self, batch: &mut Vec<Ask>, purge: bool) -> Result<(), StoreError> {
        let now = self.board.clock.now();
        let mut changes = Vec::new();
        while let Ok(back) = self.returned.try_recv() {
            self.taken_back.push(back);
        }
        for (instance, granted) in &self.taken_back {
            self.traffic.undelivered(now, *instance, granted, &mut changes);
        }
        self.traffic.expire(now, &mut changes);
        self.write(changes, &[])?;
        for ask in batch.drain(..) {
            self.answer(now, ask)?;
        }
        self.wake(now)?;
        if purge {
            self.forget_who_left();
        }
        if purge || self.purging || self.store.kept_bytes() > self.policy.kept_bytes_max {
            let Purged { gone, more } =
                self.store.purge(now.wall, self.policy.retention, self.policy.kept_bytes_max)?;
            self.counts.ended.take(gone);
            self.purging = more || self.store.shrink()?;
            if purge && self.policy.mode == TaskMode::Relay {
                self.store.clear_outbox()?;
            }
        }
        self.store.commit()?;
        self.taken_back.clear();
        Ok(())
    }

    /// Into the open transaction, and on the list of what to publish.
    fn write(&mut self, changes: Vec<Change>, content: &[u8]) -> Result<(), StoreError> {
        for change in &changes {
            self.store.write(change, content)?;
        }
        self.report_ends(&changes)?;
        self.done.extend(changes);
        Ok(())
    }

    fn publish_and_answer(&mut self) -> Result<(), StoreError> {
        let done = std::mem::take(&mut self.done);
        self.publish(&done)?;
        let delayed = self.counts.delayed;
        self.count();
        // That a delay has passed is no change of its own.
        if self.counts.delayed < delayed && !self.shows_awaited.is_empty() {
            let ids: Vec<TaskId> = self.shows_awaited.keys().cloned().collect();
            ids.iter().try_for_each(|id| self.tell_shown(id))?;
        }
        self.replies.drain(..).for_each(|reply| reply());
        if std::mem::take(&mut self.posted) {
            self.board.posted.notify_one();
        }
        Ok(())
    }

    fn count(&mut self) {
        self.counts.delayed = self.traffic.delayed();
        self.counts.queued = self.traffic.queued();
        self.counts.leased = self.traffic.leased();
        self.board.queued.store(self.counts.queued, Ordering::Relaxed);
    }

    /// Back to what the last commit left. Published state is that already.
    fn start_over(&mut self) -> Result<(), StoreError> {
        self.done.clear();
        self.posted = false;
        self.replies.clear();
        self.asking.clear();
        self.purging = false;
        self.store.roll_back()?;
        let loaded = self.store.load()?;
        self.counts.ended = loaded.ended;
        self.last_second = loaded.last_second;
        let now = self.board.clock.now();
        self.traffic = Traffic::restore(self.policy.clone(), self.agents.clone(), loaded.snapshot, now);
        Ok(())
    }

    fn forget_who_left(&mut self) {
        self.completions_awaited.retain(|waiting| !waiting.tell.is_closed());
        self.asking.retain(|_, tell| !tell.is_closed());
        self.shows_awaited.retain(|_, waiting| {
            waiting.retain(|(_, tell)| !tell.is_closed());
            !waiting.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;
