//! How long something has gone without a sign of work (R90). Shared by threads without a lock.
//!
//! A wait that is ours, such as one for an inference slot, is an excuse: while there is one, silence does not
//! begin, and its end is a sign.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::time::{Millis, Nanos};

/// Signs may come out of order by as much as threads differ; the latest counts.
#[derive(Debug, Default)]
pub struct Silence {
    last: AtomicU64,
    excuses: AtomicU32,
}

impl Silence {
    pub fn since(now: Nanos) -> Self {
        Self { last: AtomicU64::new(now.0), excuses: AtomicU32::new(0) }
    }

    /// A sign of work.
    pub fn broken(&self, now: Nanos) {
        self.last.fetch_max(now.0, Ordering::Relaxed);
    }

    /// A wait begins that is none of its own. Each is ended by one [`Silence::excuse_ends`].
    pub fn excuse_begins(&self) {
        self.excuses.fetch_add(1, Ordering::Relaxed);
    }

    pub fn excuse_ends(&self, now: Nanos) {
        // The sign comes first, so that a reader in between does not take the wait for silence.
        self.broken(now);
        self.excuses.fetch_sub(1, Ordering::Release);
    }

    pub fn lasted(&self, now: Nanos) -> Millis {
        if self.excuses.load(Ordering::Acquire) > 0 {
            return Millis::ZERO;
        }
        now.since(Nanos(self.last.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Nanos {
        Nanos(secs * 1_000_000_000)
    }

    #[test]
    fn silence_lasts_from_the_latest_sign() {
        let silence = Silence::since(at(5));
        assert_eq!(silence.lasted(at(8)), Millis(3000));
        silence.broken(at(9));
        silence.broken(at(7));
        assert_eq!(silence.lasted(at(11)), Millis(2000), "an older sign that comes late changes nothing");
        assert_eq!(silence.lasted(at(8)), Millis::ZERO, "a sign that came while the second was being closed");
    }

    #[test]
    fn a_wait_that_is_ours_is_no_silence_and_its_end_is_a_sign() {
        let silence = Silence::since(at(0));
        silence.excuse_begins();
        silence.excuse_begins();
        silence.excuse_ends(at(30));
        assert_eq!(silence.lasted(at(60)), Millis::ZERO, "one of two still waits");
        silence.excuse_ends(at(61));
        assert_eq!(silence.lasted(at(65)), Millis(4000));
    }
}
