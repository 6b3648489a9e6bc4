//! How fast tasks end, for an honest `Retry-After` and for nothing else.

use std::collections::VecDeque;

use crate::time::{Millis, Nanos};

/// Ends that are remembered.
const ENDS: usize = 64;
const SOONEST: Millis = Millis::from_secs(1);
const LATEST: Millis = Millis::from_mins(5);
/// Said while nothing has ended yet.
const UNKNOWN: Millis = Millis::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Pace {
    ends: VecDeque<Nanos>,
}

impl Pace {
    pub(super) fn ended(&mut self, now: Nanos) {
        if self.ends.len() == ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
    }

    /// How long until so many tasks have ended, if they go on as they did.
    pub(super) fn time_for(&self, now: Nanos, tasks: u64) -> Millis {
        let Some(&first) = self.ends.front() else { return UNKNOWN };
        let each = now.since(first).0 / self.ends.len() as u64;
        Millis(each.saturating_mul(tasks.max(1))).clamp(SOONEST, LATEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Nanos {
        Nanos::default() + Millis::from_secs(secs)
    }

    #[test]
    fn the_wait_follows_the_pace() {
        let mut pace = Pace::default();
        assert_eq!(pace.time_for(at(0), 1), UNKNOWN);
        (0..100).for_each(|n| pace.ended(at(2 * n)));
        // The last 64 of them: from 72 s on, one each 2 s.
        assert_eq!(pace.time_for(at(200), 1), Millis::from_secs(2));
        assert_eq!(pace.time_for(at(200), 10), Millis::from_secs(20));
        assert_eq!(pace.time_for(at(200), 100_000), LATEST);
        assert_eq!(pace.time_for(at(200 + 128), 1), Millis::from_secs(4), "nothing ended since");
    }

    #[test]
    fn a_burst_is_not_answered_with_nought() {
        let mut pace = Pace::default();
        (0..64).for_each(|_| pace.ended(at(1)));
        assert_eq!(pace.time_for(at(1), 5), SOONEST);
    }
}
