//! The only place in this crate that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bellwether_core::time::{Nanos, Now, UnixMillis};

#[derive(Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        let mono = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { mono: Nanos(mono), wall: wall() }
    }

    /// When the monotonic clock will show this.
    pub(crate) fn instant(self, at: Nanos) -> Instant {
        self.origin + std::time::Duration::from_nanos(at.0)
    }
}

pub(crate) fn wall() -> UnixMillis {
    // A clock before 1970 reads as 1970: deadlines then fall back to the monotonic clock.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
