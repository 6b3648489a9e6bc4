//! How often the whole machine is looked through after a batch of inputs: to publish it, and to see whose health is asked.
//!
//! That costs what the fleet is large, and not what has changed. So it rests for nine times as long as it took: at most a
//! tenth of the time goes into it. What a person asked for is published at once.

use std::time::{Duration, Instant};

pub(crate) struct Pace {
    rests_until: Instant,
    /// Something happened since the last look.
    behind: bool,
    /// Somebody was answered who may ask what came of it.
    insists: bool,
}

const REST: u32 = 9;

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { rests_until: now, behind: false, insists: false }
    }

    pub(super) fn insist(&mut self) {
        self.insists = true;
    }

    /// Whether it is time for a look. Otherwise [`Pace::wakes_at`] says when.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.behind = true;
        self.insists || now >= self.rests_until
    }

    pub(super) fn looked(&mut self, ended: Instant, took: Duration) {
        *self = Self { rests_until: ended + took * REST, behind: false, insists: false };
    }

    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.behind.then_some(self.rests_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_tenth_of_the_time_at_most_and_the_last_state_is_never_left_out() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.wakes_at(), None);
        assert!(pace.is_due(start), "the first comes at once");
        pace.looked(start + ms(2), ms(2));
        assert!(!pace.is_due(start + ms(10)));
        assert_eq!(pace.wakes_at(), Some(start + ms(20)), "what was passed over is made up for");
        assert!(pace.is_due(start + ms(20)));
        pace.looked(start + ms(22), ms(2));
        assert_eq!(pace.wakes_at(), None);
        pace.insist();
        assert!(pace.is_due(start + ms(23)), "who was answered sees what came of it");
    }
}
