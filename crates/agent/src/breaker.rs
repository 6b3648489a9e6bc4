//! Stops asking a model server that fails. Pure: time is an argument.
//!
//! Closed until a number of failures in a row, then open for a while, then half-open: one call probes, and
//! its outcome closes or opens again.

use std::time::{Duration, Instant};

pub(crate) const STATES: [&str; 3] = ["closed", "open", "half_open"];

#[derive(Debug)]
pub(crate) struct Breaker {
    failures_max: u32,
    open_for: Duration,
    state: State,
    trips: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    // A probe whose caller went away has no outcome: after `again` the next call may probe.
    HalfOpen { again: Instant },
}

impl Breaker {
    pub(crate) fn new(failures_max: u32, open_for: Duration) -> Self {
        Self { failures_max, open_for, state: State::Closed { failures: 0 }, trips: 0 }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    pub(crate) fn trips(&self) -> u64 {
        self.trips
    }

    pub(crate) fn state_name(&self, now: Instant) -> &'static str {
        match self.state {
            State::Closed { .. } => STATES[0],
            State::Open { until } if now < until => STATES[1],
            State::Open { .. } | State::HalfOpen { .. } => STATES[2],
        }
    }

    /// How long until a call would be allowed; zero if it would be now.
    pub(crate) fn closed_for(&self, now: Instant) -> Duration {
        match self.state {
            State::Closed { .. } => Duration::ZERO,
            State::Open { until: then } | State::HalfOpen { again: then } => then.saturating_duration_since(now),
        }
    }

    /// Takes the right to one call. In half-open only one caller at a time gets it.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until: then } | State::HalfOpen { again: then } => {
                let due = then <= now;
                if due {
                    self.state = State::HalfOpen { again: now + self.open_for };
                }
                due
            }
        }
    }

    pub(crate) fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        let failures = match self.state {
            State::Closed { failures } => failures + 1,
            State::HalfOpen { .. } => self.failures_max,
            // A call from before the trip; it tells nothing new.
            State::Open { .. } => return,
        };
        self.state = if failures >= self.failures_max {
            self.trips += 1;
            State::Open { until: now + self.open_for }
        } else {
            State::Closed { failures }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(30);

    #[test]
    fn opens_after_failures_in_a_row_and_probes_once() {
        let start = Instant::now();
        let mut breaker = Breaker::new(3, OPEN);
        breaker.failed(start);
        breaker.failed(start);
        breaker.succeeded();
        for _ in 0..2 {
            breaker.failed(start);
            assert!(breaker.admit(start));
        }
        breaker.failed(start);
        assert!(!breaker.admit(start));
        assert_eq!((breaker.trips(), breaker.state_name(start)), (1, "open"));
        assert_eq!(breaker.closed_for(start + OPEN / 3), OPEN / 3 * 2);

        let later = start + OPEN;
        assert!(breaker.admit(later));
        assert!(!breaker.admit(later), "a second probe beside the first");
        breaker.failed(later);
        assert!(!breaker.admit(later + OPEN / 2));
        assert_eq!(breaker.trips(), 2);

        assert!(breaker.admit(later + OPEN));
        breaker.succeeded();
        assert!(breaker.is_closed());
    }

    #[test]
    fn a_probe_that_never_ends_does_not_hold_it_open_for_ever() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, OPEN);
        breaker.failed(start);
        assert!(breaker.admit(start + OPEN));
        assert!(breaker.admit(start + 2 * OPEN));
    }

    #[test]
    fn late_failures_are_one_trip() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, OPEN);
        breaker.failed(start);
        breaker.failed(start);
        assert_eq!(breaker.trips(), 1);
    }
}
