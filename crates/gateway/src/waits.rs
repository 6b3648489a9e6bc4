//! Time that model calls spent waiting for a slot or for a model to load, which no revision is to blame for.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::caller::Caller;

#[derive(Default)]
pub(crate) struct Waits {
    total_micros: AtomicU64,
}

impl Waits {
    pub(crate) fn add(&self, _caller: &Caller, micros: u64) {
        self.total_micros.fetch_add(micros, Ordering::Relaxed);
    }
}
