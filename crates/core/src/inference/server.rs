//! A model server, as far as the scheduler knows it.

use std::collections::BTreeSet;

use super::Runner;
use crate::{
    id::ModelName,
    time::{Millis, Nanos},
};

/// A model server, by its place in the list of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub usize);

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) slots: u32,
    /// Slots that are held.
    pub(super) busy: u32,
    pub(super) resident: Resident,
    /// False while nothing is to be sent there.
    pub(super) up: bool,
    /// What it can be asked for, if that is known.
    pub(super) models: Option<BTreeSet<ModelName>>,
}

/// What it has in memory, as far as is known.
#[derive(Clone, Debug)]
pub(super) enum Resident {
    Unknown,
    Loading {
        runner: Runner,
        since: Nanos,
    },
    Loaded {
        runner: Runner,
        /// False if the load failed. Calls pass all the same, so that each gets the model server's own answer.
        proven: bool,
        last_used: Nanos,
        /// There while calls for another runner wait: when this one's turn is over.
        until: Option<Nanos>,
    },
}

impl Server {
    pub(super) fn new(slots: u32) -> Self {
        Self { slots: slots.max(1), busy: 0, resident: Resident::Unknown, up: true, models: None }
    }

    pub(super) fn free(&self) -> u32 {
        self.slots.saturating_sub(self.busy)
    }

    /// What is loaded or being loaded.
    pub(super) fn runner(&self) -> Option<&Runner> {
        match &self.resident {
            Resident::Unknown => None,
            Resident::Loading { runner, .. } | Resident::Loaded { runner, .. } => Some(runner),
        }
    }

    pub(super) fn loaded(&self) -> Option<&Runner> {
        match &self.resident {
            Resident::Loaded { runner, .. } => Some(runner),
            Resident::Unknown | Resident::Loading { .. } => None,
        }
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(self.resident, Resident::Loading { .. })
    }

    /// Nothing was asked of it for so long that the model may be gone.
    pub(super) fn is_stale(&self, now: Nanos, resident_for: Millis) -> bool {
        match &self.resident {
            Resident::Loaded { last_used, .. } => self.busy == 0 && now.since(*last_used) >= resident_for,
            Resident::Unknown | Resident::Loading { .. } => false,
        }
    }

    pub(super) fn used(&mut self, now: Nanos) {
        if let Resident::Loaded { last_used, .. } = &mut self.resident {
            *last_used = now;
        }
    }
}
