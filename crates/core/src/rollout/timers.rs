//! Deadlines of one controller. While it runs, monotonic time rules; over a restart the wall clock tells how
//! much of each is left, unless it jumped.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentName, InstanceId, Side},
    time::{Millis, Nanos, Now},
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Timer {
    /// The instance must be ready by then.
    Boot(InstanceId),
    /// The instance must have answered a synthetic task by then.
    TryOut(InstanceId),
    /// The seat may be tried again.
    BackOff(AgentName, Side),
    /// The gateway must have reported the retired instance empty by then.
    Drain(InstanceId),
    /// The current stage of the rollout ends.
    Stage,
    /// The rollout has to be done by then.
    Window,
    /// A freeze window that holds up the rollout may be over.
    Thaw,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Armed", into = "Armed")]
pub(crate) struct Timers {
    due: BTreeMap<Timer, Nanos>,
    /// The same by time, so that what is next is found without a look at all others.
    order: BTreeSet<(Nanos, Timer)>,
}

/// Timers as they are written down.
#[derive(Serialize, Deserialize)]
struct Armed {
    #[serde(with = "crate::pairs")]
    due: BTreeMap<Timer, Nanos>,
}

impl From<Armed> for Timers {
    fn from(Armed { due }: Armed) -> Self {
        let order = due.iter().map(|(timer, at)| (*at, timer.clone())).collect();
        Self { due, order }
    }
}

impl From<Timers> for Armed {
    fn from(Timers { due, order: _ }: Timers) -> Self {
        Self { due }
    }
}

/// A controller that was away for longer than this by the wall clock is taken to have had its clock moved.
const ABSENCE_MAX: Millis = Millis::from_mins(24 * 60);

impl Timers {
    pub(crate) fn arm(&mut self, timer: Timer, at: Nanos) {
        self.disarm(&timer);
        self.order.insert((at, timer.clone()));
        self.due.insert(timer, at);
    }

    pub(crate) fn disarm(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.due.remove_entry(timer) {
            self.order.remove(&(at, timer));
        }
    }

    /// What was armed under one name goes on under another, in place of what had that.
    pub(crate) fn rename(&mut self, from: &Timer, to: Timer) {
        match self.at(from) {
            Some(at) => {
                self.disarm(from);
                self.arm(to, at);
            }
            None => self.disarm(&to),
        }
    }

    pub(crate) fn at(&self, timer: &Timer) -> Option<Nanos> {
        self.due.get(timer).copied()
    }

    pub(crate) fn next(&self) -> Option<Nanos> {
        self.order.first().map(|(at, _)| *at)
    }

    pub(crate) fn take_due(&mut self, now: Nanos) -> Vec<Timer> {
        let mut due = Vec::new();
        while self.next().is_some_and(|at| at <= now) {
            let Some((_, timer)) = self.order.pop_first() else { break };
            self.due.remove(&timer);
            due.push(timer);
        }
        // Not in the order of their times: what a journal was written with is what it is replayed with.
        due.sort();
        due
    }

    /// Carries all deadlines over to a new monotonic origin. `last` is the time of the last event before.
    pub(crate) fn rebase(&mut self, last: Now, now: Now) {
        // A wall clock that was set back shows no absence at all.
        let away = now.wall.since(last.wall);
        let away = if away > ABSENCE_MAX { Millis::ZERO } else { away };
        for at in self.due.values_mut() {
            let left = at.since(last.mono);
            *at = now.mono + (left - away);
        }
        self.order = self.due.iter().map(|(timer, at)| (*at, timer.clone())).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixMillis;

    fn at(mono_s: u64, wall_s: u64) -> Now {
        Now { mono: Nanos(mono_s * 1_000_000_000), wall: UnixMillis(wall_s * 1000) }
    }

    fn armed(secs: u64) -> Timers {
        let mut timers = Timers::default();
        timers.arm(Timer::Stage, Nanos(secs * 1_000_000_000));
        timers
    }

    #[test]
    fn what_is_due_is_taken_once_and_what_was_moved_or_disarmed_is_not_there() {
        let mut timers = armed(30);
        let [one, two] = [1, 2].map(|n| Timer::Boot(InstanceId(n)));
        timers.arm(two.clone(), Nanos(10));
        timers.arm(one.clone(), Nanos(20));
        timers.arm(Timer::Drain(InstanceId(3)), Nanos(5));
        timers.disarm(&Timer::Drain(InstanceId(3)));
        assert_eq!(timers.next(), Some(Nanos(10)));
        timers.arm(two.clone(), Nanos(15));
        assert_eq!((timers.next(), timers.at(&two)), (Some(Nanos(15)), Some(Nanos(15))));
        assert_eq!(timers.take_due(Nanos(14)), []);
        // By name, as they always were.
        assert_eq!(timers.take_due(Nanos(20)), [one, two]);
        assert_eq!((timers.take_due(Nanos(20)), timers.next()), (vec![], Some(Nanos(30_000_000_000))));
        timers.rename(&Timer::Stage, Timer::TryOut(InstanceId(4)));
        assert_eq!(timers.take_due(Nanos(30_000_000_000)), [Timer::TryOut(InstanceId(4))]);
        assert_eq!(timers, Timers::default());
    }

    #[test]
    fn time_away_counts_by_the_wall_clock() {
        let mut timers = armed(100);
        timers.rebase(at(40, 1000), at(5, 1020));
        assert_eq!(timers.next(), Some(Nanos(45_000_000_000)));
    }

    #[test]
    fn a_day_away_is_an_absence_and_more_is_a_clock_that_jumped() {
        for (away_s, expected_s) in [(24 * 3600, 5), (24 * 3600 + 1, 65)] {
            let mut timers = armed(100);
            timers.rebase(at(40, 1000), at(5, 1000 + away_s));
            assert_eq!(timers.next(), Some(Nanos(expected_s * 1_000_000_000)));
        }
    }

    #[test]
    fn a_wall_clock_that_jumped_re_arms_the_remainder() {
        for wall_s in [10, 1000 + 30 * 24 * 3600] {
            let mut timers = armed(100);
            timers.rebase(at(40, 1000), at(5, wall_s));
            assert_eq!(timers.next(), Some(Nanos(65_000_000_000)));
        }
    }
}
