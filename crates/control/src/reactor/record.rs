//! Recording: before what was decided begins to act. And what is done when the disk is full.

use std::time::Duration;

use bellwether_core::{
    diagnostic::chain,
    rollout::{Event, Refusal, Verb, VerbKind},
    time::UnixMillis,
};

use super::{Decisions, Reactor};
use crate::{
    disk::UNWRITTEN_MAX,
    error::Error,
    journal::{EVENTS_KEPT, Memory, SNAPSHOT_EVERY},
};

/// How often what could not be written is tried again.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(1);
/// A rollout under way is left in one piece for as long as this many times the usual number of records.
const PATIENCE: i64 = 8;

/// Where the records of some decisions are.
enum Recorded {
    /// In the journal.
    Here,
    /// In the journal, with those that had to wait. What they were to bring about was not done.
    Caught,
    /// Nowhere, but the mark says which way it goes. `first`: it did not before, and earlier decisions were not carried
    /// out.
    Marked { first: bool },
    /// Nowhere: nothing may come of them yet.
    Waiting,
}

impl Reactor {
    pub(super) async fn record_and_act(&mut self, mut decisions: Decisions) -> Result<(), Error> {
        let recorded = self.record(&mut decisions)?;
        let Decisions { records: _, commands, replies } = decisions;
        match recorded {
            Recorded::Here => {}
            Recorded::Waiting => {
                self.disk.replies.extend(replies);
                return Ok(());
            }
            // The world may have gone on without us: looking at it makes the machine say again what is to be done.
            Recorded::Caught | Recorded::Marked { first: true } => {
                replies.into_iter().for_each(|reply| reply());
                return Box::pin(self.converge()).await;
            }
            Recorded::Marked { first: false } => {}
        }
        if !replies.is_empty() {
            // Who is answered may look at once, and must see what came of the request.
            self.shared.publish(&self.machine, self.clock.now(), &self.usage, self.disk.full());
            self.pace.insist();
        }
        replies.into_iter().for_each(|reply| reply());
        let questions = self.effects.carry_out(self.machine.generation(), commands).await;
        for question in questions {
            self.answer(question).await?;
        }
        Ok(())
    }

    fn record(&mut self, decisions: &mut Decisions) -> Result<Recorded, Error> {
        let was_behind = self.disk.is_behind();
        self.disk.unwritten.append(&mut decisions.records);
        if self.disk.unwritten.is_empty() {
            return Ok(Recorded::Here);
        }
        if self.disk.unwritten.len() > UNWRITTEN_MAX {
            return Err(Error::TooMuchUnwritten);
        }
        let Some(error) = self.write()? else { return Ok(self.caught(was_behind)) };
        let why = format!("the journal cannot be written: {}", chain(&error));
        if self.disk.is_full(&why) {
            self.step(Event::DiskFull { why: why.clone() }, decisions);
            self.disk.unwritten.append(&mut decisions.records);
        }
        while self.disk.give_back(self.machine.may_act_unrecorded().is_some()) {
            if self.write()?.is_none() {
                return Ok(self.caught(was_behind));
            }
        }
        Ok(match self.machine.may_act_unrecorded() {
            Some(rollout) => {
                let (next, at) = (self.machine.next_instance(), self.clock.now().wall);
                let undone = self.machine.rollout().and_then(|rollout| rollout.rollback.as_ref());
                let why = undone.map_or(why, |record| record.trigger.to_string());
                let first = self.disk.mark(rollout, next, why.chars().take(WHY_MAX).collect(), at);
                Recorded::Marked { first: first && was_behind }
            }
            None => Recorded::Waiting,
        })
    }

    /// Why there was no room for what is not written yet.
    fn write(&mut self) -> Result<Option<Error>, Error> {
        match self.journal.append(self.last_record, &self.disk.unwritten) {
            Ok(last) => {
                self.last_record = last;
                self.disk.unwritten.clear();
                Ok(None)
            }
            Err(error) if error.is_for_want_of_room() => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    fn caught(&mut self, was_behind: bool) -> Recorded {
        self.disk.written();
        if was_behind {
            tracing::info!(record = self.last_record, "the journal has everything again");
            return Recorded::Caught;
        }
        Recorded::Here
    }

    /// Before a rollout is started: room for the way back is held back first.
    pub(super) fn prepared(&mut self) -> Result<u64, Refusal> {
        self.can_record()?;
        if self.machine.rollout().is_some_and(|rollout| !rollout.state.is_over()) {
            // It will be refused, and what is held back is for the one under way.
            return Ok(0);
        }
        self.disk.hold_back(&self.machine)
    }

    /// Whether a verb may be put to the machine, as far as the disk is concerned.
    pub(super) fn may_ask(&mut self, verb: &Verb) -> Result<(), Refusal> {
        let authorised = self.machine.rollout().is_some_and(|rollout| rollout.authorised && !rollout.state.is_over());
        match verb.verb {
            VerbKind::Rollback | VerbKind::Reject if authorised => Ok(()),
            VerbKind::Resume | VerbKind::Promote | VerbKind::Approve | VerbKind::Retry if authorised => {
                self.can_record()?;
                self.disk.hold_again()
            }
            VerbKind::Rollback
            | VerbKind::Reject
            | VerbKind::Resume
            | VerbKind::Promote
            | VerbKind::Approve
            | VerbKind::Retry
            | VerbKind::Pause
            | VerbKind::Commit => self.can_record(),
        }
    }

    fn can_record(&self) -> Result<(), Refusal> {
        match self.disk.full() {
            Some(why) if self.disk.is_behind() => Err(Refusal::CannotRecord(why.to_owned())),
            _ => Ok(()),
        }
    }

    /// Between decisions: what was held back, a snapshot when enough has happened, and old records that can go.
    pub(super) fn keep_house(&mut self) {
        self.disk.follow(&self.machine);
        if self.disk.full().is_some() || self.disk.is_behind() {
            return;
        }
        let now = self.clock.now().wall;
        let under_way = self.machine.rollout().is_some_and(|rollout| !rollout.state.is_over());
        let since = self.last_record - self.last_snapshot;
        if since >= if under_way { SNAPSHOT_EVERY * PATIENCE } else { SNAPSHOT_EVERY } {
            self.snapshot(now);
        }
        if self.forgetting {
            let began = if under_way { self.began } else { 0 };
            let before = UnixMillis(now.0.saturating_sub(EVENTS_KEPT.0));
            self.forgetting = self.journal.forget(before, began).unwrap_or_else(|error| {
                tracing::warn!(error = chain(&error), "old records cannot be dropped");
                false
            });
        }
    }

    fn snapshot(&mut self, now: UnixMillis) {
        // Also where it fails: the next try is as many records away.
        self.last_snapshot = self.last_record;
        let memory = Memory {
            machine: self.machine.clone(),
            boots: self.usage.seen.boots().clone(),
            decided: self.decided,
            began: self.began,
        };
        match self.journal.put_snapshot(self.last_record, now, &memory) {
            Ok(()) => {
                tracing::info!(record = self.last_record, "a snapshot of the journal was made");
                self.forgetting = true;
            }
            Err(error) => tracing::warn!(error = chain(&error), "no snapshot of the journal could be made"),
        }
    }
}

/// Of why a rollback is under way so many characters fit into the mark, whatever they are.
const WHY_MAX: usize = 500;
