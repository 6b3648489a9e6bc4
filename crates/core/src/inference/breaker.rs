//! Stops the model calls of an agent that fail too often. Pure: time is an argument.
//!
//! States and settings have the names of resilience4j. Closed until enough of the last calls failed; then open for a
//! while, and half-open, where a few calls are tried and decide.

use std::{collections::VecDeque, fmt};

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Nanos};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSettings {
    /// So many of the last calls are judged.
    pub sliding_window_size: usize,
    /// With fewer calls in the window nothing is judged.
    pub minimum_number_of_calls: usize,
    /// Share of failures, 0 to 1, at which it opens.
    pub failure_rate_threshold: f64,
    pub wait_duration_in_open_state: Millis,
    pub permitted_number_of_calls_in_half_open_state: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            sliding_window_size: 10,
            minimum_number_of_calls: 5,
            failure_rate_threshold: 0.5,
            wait_duration_in_open_state: Millis::from_secs(10),
            permitted_number_of_calls_in_half_open_state: 2,
        }
    }
}

/// As resilience4j names them. The last three hold until somebody lifts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    Closed,
    Open,
    HalfOpen,
    /// Nothing passes.
    ForcedOpen,
    /// Everything passes, and nothing is counted.
    Disabled,
    /// Everything passes, and is counted.
    MetricsOnly,
}

impl BreakerState {
    pub const ALL: [Self; 6] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::Disabled, Self::MetricsOnly];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }
}

/// What a breaker has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct BreakerFigures {
    /// Of the calls in its window; none while these are fewer than the minimum.
    pub failure_rate: Option<f64>,
    /// In its window.
    pub buffered: usize,
    pub buffered_failed: usize,
    /// Since it was made.
    pub successful: u64,
    pub failed: u64,
    pub ignored: u64,
    pub not_permitted: u64,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// All but what the state itself has.
    counted: BreakerFigures,
    /// Counts changes of state, so that a call from before one says nothing about what came after.
    epoch: u64,
}

#[derive(Clone, Debug)]
enum State {
    /// The last calls, oldest first: true for a failure.
    Closed {
        window: VecDeque<bool>,
    },
    Open {
        until: Nanos,
    },
    HalfOpen {
        /// Trial calls that are under way or have ended.
        permitted: u32,
        succeeded: u32,
        failed: u32,
    },
    ForcedOpen,
    Disabled,
    MetricsOnly {
        window: VecDeque<bool>,
    },
}

/// The right to one call. Every one that was granted is given back by [`Breaker::ended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permitted {
    epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many of this agent's model calls failed; the next one is tried in {retry_after}")]
pub struct NotPermitted {
    pub retry_after: Millis,
}

/// What a call says of its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    Success,
    Failure,
    /// Nothing: it was not made, was cancelled, or its end is not the agent's doing.
    Ignored,
}

/// While all trial calls are under way, there is nothing to wait for but their end.
const RETRY_HALF_OPEN: Millis = Millis::from_secs(1);

impl Breaker {
    pub fn new(settings: BreakerSettings) -> Self {
        let counted = BreakerFigures::default();
        Self { settings, state: State::Closed { window: VecDeque::new() }, counted, epoch: 0 }
    }

    pub fn admit(&mut self, now: Nanos) -> Result<Permitted, NotPermitted> {
        let admitted = self.try_admit(now);
        self.counted.not_permitted += u64::from(admitted.is_err());
        admitted
    }

    fn try_admit(&mut self, now: Nanos) -> Result<Permitted, NotPermitted> {
        // Rounded up: coming back a moment too early would be in vain.
        if let Some(retry_after) = self.retry_after(now) {
            return Err(NotPermitted { retry_after });
        }
        if let State::Open { .. } = self.state {
            self.enter(State::HalfOpen { permitted: 0, succeeded: 0, failed: 0 });
        }
        if let State::HalfOpen { permitted, .. } = &mut self.state {
            if *permitted >= self.settings.permitted_number_of_calls_in_half_open_state {
                return Err(NotPermitted { retry_after: RETRY_HALF_OPEN });
            }
            *permitted += 1;
        }
        Ok(Permitted { epoch: self.epoch })
    }

    /// Puts it into this state and forgets what it has seen. A forced state holds until the next word; any other goes on
    /// as it always does.
    pub fn force(&mut self, now: Nanos, state: BreakerState) {
        self.enter(match state {
            BreakerState::Closed => State::Closed { window: VecDeque::new() },
            BreakerState::Open => State::Open { until: now + self.settings.wait_duration_in_open_state },
            BreakerState::HalfOpen => State::HalfOpen { permitted: 0, succeeded: 0, failed: 0 },
            BreakerState::ForcedOpen => State::ForcedOpen,
            BreakerState::Disabled => State::Disabled,
            BreakerState::MetricsOnly => State::MetricsOnly { window: VecDeque::new() },
        });
    }

    /// Asks again for a call that waited meanwhile. Refused if the breaker has opened since.
    pub fn confirm(&mut self, now: Nanos, permitted: Permitted) -> Result<Permitted, NotPermitted> {
        if permitted.epoch == self.epoch { Ok(permitted) } else { self.admit(now) }
    }

    /// True if this opened the breaker.
    pub fn ended(&mut self, now: Nanos, permitted: Permitted, end: CallEnd) -> bool {
        match end {
            CallEnd::Success => self.counted.successful += 1,
            CallEnd::Failure => self.counted.failed += 1,
            CallEnd::Ignored => self.counted.ignored += 1,
        }
        if permitted.epoch != self.epoch {
            return false;
        }
        match &mut self.state {
            State::MetricsOnly { window } => {
                push(window, end, self.settings.sliding_window_size);
                false
            }
            State::Closed { window } => {
                push(window, end, self.settings.sliding_window_size);
                if end == CallEnd::Ignored {
                    return false;
                }
                let failed = window.iter().filter(|&&failed| failed).count();
                let judged = window.len();
                let opens = judged >= self.settings.minimum_number_of_calls && self.is_over(failed, judged);
                if opens {
                    self.open(now);
                }
                opens
            }
            // Nothing is permitted while it is open, and nothing counts while it is disabled.
            State::Open { .. } | State::ForcedOpen | State::Disabled => false,
            State::HalfOpen { permitted, succeeded, failed } => {
                match end {
                    CallEnd::Success => *succeeded += 1,
                    CallEnd::Failure => *failed += 1,
                    CallEnd::Ignored => *permitted = permitted.saturating_sub(1),
                }
                let (failed, ended) = (*failed, *succeeded + *failed);
                if ended < self.settings.permitted_number_of_calls_in_half_open_state {
                    return false;
                }
                let opens = self.is_over(failed as usize, ended as usize);
                if opens {
                    self.open(now);
                } else {
                    self.enter(State::Closed { window: VecDeque::new() });
                }
                opens
            }
        }
    }

    /// For how long nothing is permitted. Of one that is forced open nobody knows.
    pub fn retry_after(&self, now: Nanos) -> Option<Millis> {
        match self.state {
            State::Open { until } if now < until => Some(Millis((until.0 - now.0).div_ceil(1_000_000))),
            State::ForcedOpen => Some(self.settings.wait_duration_in_open_state),
            State::Closed { .. }
            | State::Open { .. }
            | State::HalfOpen { .. }
            | State::Disabled
            | State::MetricsOnly { .. } => None,
        }
    }

    pub fn figures(&self) -> BreakerFigures {
        let (buffered, buffered_failed) = match &self.state {
            State::Closed { window } | State::MetricsOnly { window } => {
                (window.len(), window.iter().filter(|&&failed| failed).count())
            }
            State::HalfOpen { succeeded, failed, .. } => ((succeeded + failed) as usize, *failed as usize),
            State::Open { .. } | State::ForcedOpen | State::Disabled => (0, 0),
        };
        let enough = buffered > 0 && buffered >= self.settings.minimum_number_of_calls;
        let failure_rate = enough.then(|| rate(buffered_failed, buffered));
        BreakerFigures { failure_rate, buffered, buffered_failed, ..self.counted }
    }

    /// An open breaker whose time is over goes to half-open with the next call.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::ForcedOpen => BreakerState::ForcedOpen,
            State::Disabled => BreakerState::Disabled,
            State::MetricsOnly { .. } => BreakerState::MetricsOnly,
        }
    }

    fn open(&mut self, now: Nanos) {
        self.enter(State::Open { until: now + self.settings.wait_duration_in_open_state });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }

    fn is_over(&self, failed: usize, of: usize) -> bool {
        rate(failed, of) >= self.settings.failure_rate_threshold
    }
}

fn push(window: &mut VecDeque<bool>, end: CallEnd, size: usize) {
    if end != CallEnd::Ignored {
        window.push_back(end == CallEnd::Failure);
        if window.len() > size {
            window.pop_front();
        }
    }
}

fn rate(failed: usize, of: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a window is small")]
    let rate = failed as f64 / of.max(1) as f64;
    rate
}

#[cfg(test)]
mod tests {
    use CallEnd::{Failure, Ignored, Success};

    use super::*;

    fn at(secs: u64) -> Nanos {
        Nanos(secs * 1_000_000_000)
    }

    struct World {
        breaker: Breaker,
        trips: u32,
    }

    impl World {
        fn new() -> Self {
            Self { breaker: Breaker::new(BreakerSettings::default()), trips: 0 }
        }

        fn end(&mut self, secs: u64, permitted: Permitted, end: CallEnd) {
            self.trips += u32::from(self.breaker.ended(at(secs), permitted, end));
        }

        fn calls(&mut self, secs: u64, ends: &[CallEnd]) {
            for &end in ends {
                let permitted = self.breaker.admit(at(secs)).unwrap();
                self.end(secs, permitted, end);
            }
        }

        fn seen(&self) -> (String, u32) {
            (self.breaker.state().to_string(), self.trips)
        }
    }

    #[test]
    fn opens_when_half_of_at_least_five_failed() {
        let mut w = World::new();
        w.calls(0, &[Failure, Failure]);
        assert_eq!(w.seen(), ("closed".to_owned(), 0), "too few to tell");
        w.calls(0, &[Success; 3]);
        assert_eq!(w.seen(), ("closed".to_owned(), 0), "2 of 5");
        w.calls(0, &[Failure]);
        assert_eq!(w.seen(), ("open".to_owned(), 1), "3 of 6");
    }

    #[test]
    fn half_is_enough_and_only_the_last_ten_count() {
        let mut w = World::new();
        w.calls(0, &[Success; 20]);
        w.calls(0, &[Failure; 4]);
        assert_eq!(w.seen(), ("closed".to_owned(), 0));
        w.calls(0, &[Failure]);
        assert_eq!(w.seen(), ("open".to_owned(), 1), "5 of the last 10");
    }

    #[test]
    fn what_says_nothing_of_the_agent_is_not_judged() {
        let mut w = World::new();
        w.calls(0, &[Ignored; 100]);
        w.calls(0, &[Failure; 4]);
        assert_eq!(w.seen(), ("closed".to_owned(), 0));
    }

    #[test]
    fn while_open_nothing_passes_and_then_two_trials_decide() {
        let mut w = World::new();
        w.calls(5, &[Failure; 5]);
        assert_eq!(w.breaker.admit(at(9)), Err(NotPermitted { retry_after: Millis(6000) }));
        let first = w.breaker.admit(at(15)).unwrap();
        let second = w.breaker.admit(at(15)).unwrap();
        assert_eq!(w.breaker.state(), BreakerState::HalfOpen);
        assert_eq!(w.breaker.admit(at(15)), Err(NotPermitted { retry_after: RETRY_HALF_OPEN }));
        w.end(16, first, Success);
        assert!(w.breaker.admit(at(16)).is_err(), "two calls, not two at a time");
        w.end(17, second, Success);
        assert_eq!(w.seen(), ("closed".to_owned(), 1));
        w.calls(18, &[Failure; 4]);
        assert_eq!(w.seen(), ("closed".to_owned(), 1), "it begins with an empty window");
    }

    #[test]
    fn one_failed_trial_of_two_opens_it_again_for_as_long() {
        let mut w = World::new();
        w.calls(0, &[Failure; 5]);
        w.calls(10, &[Success, Failure]);
        assert_eq!(w.seen(), ("open".to_owned(), 2));
        assert_eq!(
            w.breaker.admit(at(19)),
            Err(NotPermitted { retry_after: Millis(1000) }),
            "not for longer than before"
        );
        w.calls(20, &[Success, Success]);
        assert_eq!(w.seen(), ("closed".to_owned(), 2));
    }

    #[test]
    fn a_trial_that_was_cancelled_leaves_its_place_to_another() {
        let mut w = World::new();
        w.calls(0, &[Failure; 5]);
        w.calls(10, &[Ignored, Ignored, Ignored, Success]);
        assert_eq!(w.breaker.state(), BreakerState::HalfOpen);
        w.calls(10, &[Ignored, Success]);
        assert_eq!(w.breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn calls_from_before_the_trip_tell_nothing_about_after() {
        let mut w = World::new();
        let early: Vec<Permitted> = (0..8).map(|_| w.breaker.admit(at(0)).unwrap()).collect();
        early[..5].iter().for_each(|&call| w.end(1, call, Failure));
        assert_eq!(w.seen(), ("open".to_owned(), 1));
        w.end(2, early[5], Failure);
        let trial = w.breaker.admit(at(11)).unwrap();
        early[6..].iter().for_each(|&call| w.end(12, call, Failure));
        assert_eq!(w.seen(), ("half_open".to_owned(), 1), "stragglers are no trials");
        w.end(12, trial, Success);
        w.calls(12, &[Success]);
        assert_eq!(w.seen(), ("closed".to_owned(), 1));
    }

    #[test]
    fn a_call_that_waited_asks_again_if_the_breaker_moved_meanwhile() {
        let mut w = World::new();
        let waiting = w.breaker.admit(at(0)).unwrap();
        assert_eq!(w.breaker.confirm(at(0), waiting), Ok(waiting));
        w.calls(0, &[Failure; 5]);
        assert!(w.breaker.confirm(at(1), waiting).is_err());
        let trial = w.breaker.confirm(at(10), waiting).unwrap();
        w.end(10, trial, Success);
        w.calls(10, &[Success]);
        assert_eq!(w.breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn one_that_is_forced_open_lets_nothing_pass_until_it_is_told_otherwise() {
        let mut w = World::new();
        w.breaker.force(at(0), BreakerState::ForcedOpen);
        for secs in [0, 60, 3600] {
            assert!(w.breaker.admit(at(secs)).is_err());
        }
        w.breaker.force(at(3600), BreakerState::Closed);
        w.calls(3600, &[Failure; 4]);
        assert_eq!(w.seen(), ("closed".to_owned(), 0));
        assert_eq!(w.breaker.figures().not_permitted, 3);
    }

    #[test]
    fn one_that_is_disabled_counts_nothing_and_one_for_metrics_only_counts_and_never_opens() {
        let mut w = World::new();
        w.breaker.force(at(0), BreakerState::Disabled);
        w.calls(0, &[Failure; 20]);
        assert_eq!((w.seen(), w.breaker.figures().buffered), (("disabled".to_owned(), 0), 0));
        w.breaker.force(at(0), BreakerState::MetricsOnly);
        w.calls(0, &[Failure; 20]);
        assert_eq!((w.seen(), w.breaker.figures().failure_rate), (("metrics_only".to_owned(), 0), Some(1.0)));
    }

    #[test]
    fn a_call_from_before_it_was_forced_says_nothing_after() {
        let mut w = World::new();
        let early = w.breaker.admit(at(0)).unwrap();
        w.breaker.force(at(0), BreakerState::MetricsOnly);
        w.end(1, early, Failure);
        assert_eq!(w.breaker.figures().buffered, 0);
    }

    #[test]
    fn the_failure_rate_is_told_once_there_are_enough_calls() {
        let mut w = World::new();
        w.calls(0, &[Failure, Success, Success, Ignored]);
        let few = w.breaker.figures();
        assert_eq!((few.failure_rate, few.buffered, few.buffered_failed), (None, 3, 1));
        w.calls(0, &[Success, Success]);
        let enough = w.breaker.figures();
        assert_eq!((enough.failure_rate, enough.successful, enough.failed, enough.ignored), (Some(0.2), 4, 1, 1));
    }
}
