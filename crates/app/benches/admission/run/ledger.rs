//! What a simulated Ollama says that it computed.

use serde::Deserialize;

use crate::common::get::get;

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Ledger {
    abandoned: u64,
    slot_us: u64,
    abandoned_us: u64,
    wasted_us: u64,
    pub(crate) aborted_loads: u64,
    call_max_us: u64,
    load_max_us: u64,
    unload_max_us: u64,
}

impl Ledger {
    pub(crate) fn of(url: &str) -> Result<Self, String> {
        get(url, "/sim/figures")
    }

    pub(crate) fn call_max_ms(&self) -> u64 {
        self.call_max_us.div_ceil(1000)
    }

    /// From one model to the next, in milliseconds.
    pub(crate) fn load_max_ms(&self) -> u64 {
        (self.load_max_us + self.unload_max_us).div_ceil(1000)
    }

    /// Share of the slot time that was for clients who had gone, whether the server noticed or not. `late_us` is what they left
    /// later than they had said, on average.
    #[expect(clippy::cast_precision_loss, reason = "counts of a minute fit 53 bits")]
    pub(crate) fn wasted(&self, late_us: f64) -> Option<f64> {
        let by_server = (self.wasted_us as f64 - self.abandoned as f64 * late_us).max(0.0);
        (self.slot_us > 0).then(|| by_server / self.slot_us as f64)
    }

    /// Share of the slot time of calls that came to no end: what they were computed before their clients went is in it.
    #[expect(clippy::cast_precision_loss, reason = "counts of a minute fit 53 bits")]
    pub(crate) fn abandoned(&self) -> Option<f64> {
        (self.slot_us > 0).then(|| self.abandoned_us as f64 / self.slot_us as f64)
    }
}
