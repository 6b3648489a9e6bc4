//! What the gateway counts.

use serde::{Deserialize, Serialize};

/// What the gateway says it has, by `GET /tasks`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Held {
    pub(crate) delayed: u64,
    pub(crate) queued: u64,
    pub(crate) leased: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) expired: u64,
    pub(crate) cancelled: u64,
}

impl Held {
    pub(crate) fn open(&self) -> u64 {
        self.delayed + self.queued + self.leased
    }

    pub(crate) fn all(&self) -> u64 {
        self.open() + self.completed + self.failed + self.expired + self.cancelled
    }
}
