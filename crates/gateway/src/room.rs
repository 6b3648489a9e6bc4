//! Room on the disk of the store. Some is held back for intents of the controller, so that traffic can go back to blue
//! when there is none left for anything else.

use std::path::{Path, PathBuf};

use bellwether_core::rollout::reserve;
use bellwether_store::{Reserve, free_bytes};

const RESERVE: &str = "gateway.reserve";
/// The disk counts as full until so much more than what is held back is free.
const MARGIN_BYTES: u64 = 16 << 20;
/// With less than this free it is not even tried to store one-second records.
const TRY_BYTES: u64 = 256 << 10;

pub(crate) struct Room {
    directory: PathBuf,
    reserve: Reserve,
    wanted: u64,
    full: bool,
}

impl Room {
    /// Beside the store.
    pub(crate) fn of(store: &Path, agents: usize) -> Self {
        let directory = store.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let reserve = Reserve::open(&directory.join(RESERVE));
        let mut room = Self { directory, reserve, wanted: reserve::gateway_bytes(agents), full: false };
        if let Err(error) = room.reserve.hold(room.wanted) {
            tracing::error!(%error, bytes = room.wanted, "no room can be held back for cutovers: the disk is full");
            room.full = true;
        }
        room
    }

    /// Nothing that can wait is taken in.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// Something could not be written.
    pub(crate) fn fill(&mut self) {
        if !std::mem::replace(&mut self.full, true) {
            tracing::error!(
                held = self.reserve.held(),
                "the disk is full: no task is taken in until there is room; cutovers go on in what was held back"
            );
        }
    }

    /// Gives some of what is held back to an intent. False if there is no more.
    pub(crate) fn give_back(&mut self) -> bool {
        self.reserve.give_back().unwrap_or_else(|error| {
            tracing::error!(%error, "what was held back cannot be given back to the disk");
            false
        })
    }

    /// The same for what an intent may need more. Half of it stays.
    pub(crate) fn give_back_half(&mut self) -> bool {
        self.reserve.held() > self.wanted / 2 && self.give_back()
    }

    /// Nothing is left for what is not an intent: to try would only cost a reading of the whole store.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.full
            && self.reserve.held() <= self.wanted / 2
            && free_bytes(&self.directory).is_ok_and(|free| free < TRY_BYTES)
    }

    /// Whether there is room again. Costs nothing while the disk is not full.
    pub(crate) fn look(&mut self) {
        if !self.full {
            return;
        }
        let missing = self.wanted.saturating_sub(self.reserve.held());
        let has_room = free_bytes(&self.directory).is_ok_and(|free| free > missing + MARGIN_BYTES);
        if has_room && self.reserve.hold(self.wanted).is_ok() {
            tracing::info!("there is room on the disk again");
            self.full = false;
        }
    }
}
