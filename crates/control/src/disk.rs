//! What stands between the controller and a full disk: room that is held back while a rollout is under way, the mark that
//! says what could not be recorded, and the records that wait for room.
//!
//! It decides nothing about the rollout. The order is: the journal; the journal in the room that was held back; the mark, if
//! the traffic is going back to blue; waiting.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use bellwether_core::{
    id::{InstanceId, RolloutId},
    rollout::{Controller, Event, Refusal, reserve},
    time::{Now, UnixMillis},
};
use bellwether_store::{Mark, Reserve, free_bytes};
use serde::{Deserialize, Serialize};

/// A rollback that is carried out and not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marked {
    pub(crate) rollout: RolloutId,
    /// No instance of this number was started.
    pub(crate) next: InstanceId,
    pub(crate) why: String,
    pub(crate) at: UnixMillis,
}

/// What a restore left for the first controller after it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct PutBack {
    /// The first instance number that nobody is known to have had.
    pub next: InstanceId,
}

/// In the state directory, from a restore until a controller has recorded it.
pub const PUT_BACK: &str = "restored.json";
/// Numbers that are left out after a restore: what was started since the backup, and is not known any more, had one of
/// them.
pub(crate) const NUMBERS_LEFT_OUT: u64 = 1 << 20;

const RESERVE: &str = "journal.reserve";
const MARK: &str = "rollback.mark";
/// The disk counts as full until so much more than what is held back is free.
const MARGIN_BYTES: u64 = 16 << 20;
/// Beyond this what happened is not held in memory any more.
pub(crate) const UNWRITTEN_MAX: usize = 100_000;

pub(crate) struct Disk {
    state: PathBuf,
    reserve: Reserve,
    /// What is to be held back while this rollout is under way.
    wanted: u64,
    mark: Option<Mark>,
    marked: Option<Marked>,
    /// What the machine took and the journal does not have.
    pub(crate) unwritten: Vec<(Now, Event)>,
    /// To be answered when that is written.
    pub(crate) replies: Vec<Box<dyn FnOnce() + Send>>,
    /// Why the journal could not be written, as long as there is no room again.
    full: Option<String>,
    put_back: bool,
}

impl Disk {
    pub(crate) fn of(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            reserve: Reserve::open(&state.join(RESERVE)),
            wanted: 0,
            mark: None,
            marked: None,
            unwritten: Vec::new(),
            replies: Vec::new(),
            full: None,
            put_back: false,
        }
    }

    /// What an earlier controller could not record, or a restore left to be recorded, as events for the machine.
    pub(crate) fn left(&mut self, machine: &Controller) -> io::Result<Vec<Event>> {
        let mut left = Vec::new();
        let path = self.state.join(PUT_BACK);
        match fs::read(&path) {
            Ok(text) => {
                let PutBack { next } = serde_json::from_slice(&text)?;
                let next = next.max(machine.next_instance()).0.saturating_add(NUMBERS_LEFT_OUT);
                left.push(Event::Restored { next: InstanceId(next) });
                self.put_back = true;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if let Some(marked) = Mark::read::<Marked>(&self.state.join(MARK))? {
            let Marked { rollout, next, why, .. } = marked.clone();
            tracing::warn!(%rollout, why, "an earlier controller began a rollback and could not record it");
            left.push(Event::RollbackFound { rollout, next, why });
            self.marked = Some(marked);
        }
        if let Some(rollout) = machine.rollout().filter(|rollout| rollout.authorised && !rollout.state.is_over()) {
            self.wanted = reserve::journal_bytes(machine.agents().count());
            self.mark = Some(Mark::prepare(&self.state.join(MARK))?);
            tracing::info!(rollout = %rollout.id, held = self.reserve.held(), "room is held back for its way back");
        }
        Ok(left)
    }

    /// Why nothing can be recorded at the moment, or could not be until a moment ago.
    pub(crate) fn full(&self) -> Option<&str> {
        self.full.as_deref()
    }

    /// Something happened that is not in the journal.
    pub(crate) fn is_behind(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Samples stay out of what little there is.
    pub(crate) fn spares_samples(&self) -> bool {
        self.full.is_some()
    }

    /// Before a rollout starts: room for its way back, and the mark.
    pub(crate) fn hold_back(&mut self, machine: &Controller) -> Result<u64, Refusal> {
        let wanted = reserve::journal_bytes(machine.agents().count());
        self.hold(wanted)?;
        let mark = Mark::prepare(&self.state.join(MARK)).map_err(|error| self.no_room(wanted, &error))?;
        (self.wanted, self.mark) = (wanted, Some(mark));
        Ok(wanted)
    }

    /// Before a rollout goes on that was held because the disk was full.
    pub(crate) fn hold_again(&mut self) -> Result<(), Refusal> {
        self.hold(self.wanted)?;
        self.full = None;
        Ok(())
    }

    fn hold(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.reserve.hold(bytes).map_err(|error| self.no_room(bytes, &error))
    }

    fn no_room(&self, needed: u64, error: &io::Error) -> Refusal {
        tracing::warn!(needed, %error, "no room for the way back of a rollout");
        Refusal::NoRoom { needed, free: free_bytes(&self.state).unwrap_or_default() }
    }

    /// The journal could not be written. True if that is news.
    pub(crate) fn is_full(&mut self, why: &str) -> bool {
        let is_news = self.full.is_none();
        if is_news {
            let held = self.reserve.held();
            tracing::error!(why, held, "the journal cannot be written; room has to be made on the disk");
        }
        self.full.get_or_insert_with(|| why.to_owned());
        is_news
    }

    /// Gives some of what is held back to the disk. Half of it is for the way back alone. False if there is no more.
    pub(crate) fn give_back(&mut self, going_back: bool) -> bool {
        let stays = if going_back { 0 } else { self.wanted / 2 };
        if self.reserve.held() <= stays {
            return false;
        }
        self.reserve.give_back().unwrap_or_else(|error| {
            tracing::error!(%error, "what was held back cannot be given back to the disk");
            false
        })
    }

    /// For opening the journal, before it is known what is under way.
    pub(crate) fn give_back_to_open(&mut self) -> bool {
        self.give_back(true)
    }

    /// Says in place of the journal that the traffic goes back to blue, before it does. True if that was not said before.
    pub(crate) fn mark(&mut self, rollout: RolloutId, next: InstanceId, why: String, at: UnixMillis) -> bool {
        let is_first = self.marked.is_none();
        if self.marked.as_ref().is_some_and(|marked| marked.rollout == rollout && marked.next >= next) {
            return false;
        }
        let marked = Marked { rollout, next, why, at };
        let set = match &mut self.mark {
            Some(mark) => mark.set(&marked),
            None => Err(io::Error::from(ErrorKind::NotFound)),
        };
        if let Err(error) = set {
            // Traffic that stays on a bad green is worse than one that is sent there again after a crash.
            tracing::error!(%rollout, %error, "the mark of the rollback cannot be written either; it is carried out all the same");
        }
        self.marked = Some(marked);
        is_first
    }

    /// Everything is in the journal. What stood for it goes, and who waited is answered.
    pub(crate) fn written(&mut self) {
        if self.marked.take().is_some()
            && let Err(error) = self.mark.as_mut().map_or(Ok(()), Mark::clear)
        {
            tracing::error!(%error, "the mark of the rollback cannot be cleared");
        }
        if std::mem::take(&mut self.put_back)
            && let Err(error) = fs::remove_file(self.state.join(PUT_BACK))
        {
            tracing::warn!(%error, "the note of a restore stays; the next controller leaves out more instance numbers");
        }
        self.replies.drain(..).for_each(|reply| reply());
    }

    /// Holds back again what was given back, once there is room, and gives it up where no rollout is under way.
    pub(crate) fn follow(&mut self, machine: &Controller) {
        if self.is_behind() {
            return;
        }
        if machine.rollout().is_none_or(|rollout| rollout.state.is_over()) {
            self.let_go();
        }
        let missing = self.wanted.saturating_sub(self.reserve.held());
        if self.full.is_none() && missing == 0 {
            return;
        }
        let has_room = free_bytes(&self.state).is_ok_and(|free| free > missing + MARGIN_BYTES);
        if has_room && self.reserve.hold(self.wanted).is_ok() {
            tracing::info!("there is room on the disk again");
            self.full = None;
        }
    }

    fn let_go(&mut self) {
        self.wanted = 0;
        if self.reserve.held() > 0
            && let Err(error) = self.reserve.release()
        {
            tracing::warn!(%error, "what was held back cannot be given back to the disk");
        }
        if let Some(mark) = self.mark.take()
            && let Err(error) = mark.remove()
        {
            tracing::warn!(%error, "the mark of the rollback cannot be removed");
        }
    }
}
