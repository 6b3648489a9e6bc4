//! The clocks, read here and nowhere else.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bellwether_core::time::{Nanos, Now, UnixMillis};

/// Leases that were granted before this process began have a place on its monotonic clock too.
const BEFORE: Duration = Duration::from_secs(365 * 86_400);

#[derive(Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        Now { mono: self.mono(), wall: self.wall() }
    }

    pub(crate) fn mono(self) -> Nanos {
        Nanos(nanos(BEFORE + self.origin.elapsed()))
    }

    pub(crate) fn wall(self) -> UnixMillis {
        // A wall clock before 1970 is as wrong as any; what rules is monotonic.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// How long it is until `at`.
    pub(crate) fn until(self, at: Nanos) -> Duration {
        Duration::from_nanos(at.0.saturating_sub(self.mono().0))
    }
}

pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
