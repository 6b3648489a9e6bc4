//! What the server computed, by its own count: whoever stands in front of it cannot know how much of that was for nobody.

use bellwether_core::time::Nanos;
use serde::Serialize;

/// Of what has ended. All times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Ledger {
    /// Calls that were computed to their end; those that only load or unload do not count.
    finished: u64,
    /// Calls that were given up while they held a slot.
    abandoned: u64,
    /// For which calls of any kind held slots.
    slot_us: u64,
    /// Of that, by calls that were given up, from their slot until it was noticed.
    abandoned_us: u64,
    /// Of that, after the client had gone, as far as clients said when they would; that of calls that were computed to their end
    /// and of which the server never noticed it included.
    wasted_us: u64,
    /// The longest call that was computed to its end, from its slot on.
    call_max_us: u64,
    loads: u64,
    /// Loads that were given up with the call for which they were made.
    aborted_loads: u64,
    load_max_us: u64,
    unload_max_us: u64,
}

impl Ledger {
    pub(super) fn finished(&mut self, since: Nanos, now: Nanos, leaves: Option<Nanos>, computes: bool) {
        let span = micros(since, now);
        self.wasted_us += wasted(since, now, leaves);
        self.finished += u64::from(computes);
        self.slot_us += span;
        self.call_max_us = self.call_max_us.max(span);
    }

    pub(super) fn abandoned(&mut self, since: Nanos, now: Nanos, leaves: Option<Nanos>) {
        let span = micros(since, now);
        self.wasted_us += wasted(since, now, leaves);
        self.abandoned += 1;
        self.slot_us += span;
        self.abandoned_us += span;
    }

    pub(super) fn loaded(&mut self, since: Nanos, now: Nanos) {
        self.loads += 1;
        self.load_max_us = self.load_max_us.max(micros(since, now));
    }

    pub(super) fn load_aborted(&mut self) {
        self.aborted_loads += 1;
    }

    pub(super) fn unloaded(&mut self, since: Nanos, now: Nanos) {
        self.unload_max_us = self.unload_max_us.max(micros(since, now));
    }
}

fn wasted(since: Nanos, now: Nanos, leaves: Option<Nanos>) -> u64 {
    leaves.map_or(0, |leaves| micros(leaves.max(since), now))
}

fn micros(since: Nanos, now: Nanos) -> u64 {
    now.0.saturating_sub(since.0) / 1000
}
