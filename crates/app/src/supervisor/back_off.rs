//! How long a child that died is waited for before it is started again.
//!
//! What died of how it was started would do so again: the pause doubles. What had lived was killed, or met something that
//! happens now and then: it is started again at once, because requests wait for it. A child that dies again and again
//! after it has lived bounds by its own life how often it is started.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const MAX: Duration = Duration::from_secs(2);
/// By then it has read its store and serves.
const LIVED: Duration = Duration::from_secs(1);

pub(super) struct BackOff {
    next: Duration,
}

impl BackOff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The pause after a life of this length.
    pub(super) fn after(&mut self, life: Duration) -> Duration {
        if life >= LIVED {
            self.next = FIRST;
            return Duration::ZERO;
        }
        let pause = self.next;
        self.next = (pause * 2).min(MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dies_at_once_is_started_ever_more_slowly() {
        let mut back_off = BackOff::new();
        let pauses: Vec<u128> = (0..8).map(|_| back_off.after(Duration::from_millis(30)).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn what_is_killed_from_outside_again_and_again_is_back_at_once() {
        let mut back_off = BackOff::new();
        for _ in 0..100 {
            assert_eq!(back_off.after(Duration::from_millis(1500)), Duration::ZERO);
        }
        assert_eq!(back_off.after(Duration::ZERO), FIRST);
    }
}
