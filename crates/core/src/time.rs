//! Time as an argument. Shells read the clocks once per event and hand [`Now`] in; machines never ask.
//!
//! While a controller runs, monotonic time rules. Wall time is for people, for schedules and for re-arming
//! deadlines after a restart.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A span of time in milliseconds, the unit of every limit in the fleet file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    pub const ZERO: Self = Self(0);

    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1000)
    }

    pub const fn from_mins(mins: u64) -> Self {
        Self(mins * 60_000)
    }

    pub fn as_secs_f64(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of any rollout fit 53 bits")]
        let millis = self.0 as f64;
        millis / 1e3
    }

    pub fn to_std(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// This span divided by `speed`, never shorter than one millisecond unless it was zero.
    #[must_use]
    pub fn compressed(self, speed: f64) -> Self {
        if self.0 == 0 {
            return self;
        }
        Self(((self.as_secs_f64() * 1e3 / speed).round()).max(1.0) as u64)
    }
}

impl Add for Millis {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Millis {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Millis {
    /// As a person would write it: `250ms`, `4.5s`, `30m`, `1h15m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            ms if ms < 1000 => format!("{ms}ms"),
            ms if ms < 60_000 && ms % 1000 == 0 => format!("{}s", ms / 1000),
            ms if ms < 60_000 => format!("{:.1}s", self.as_secs_f64()),
            ms => {
                let secs = (ms + 500) / 1000;
                let (hours, minutes, seconds) = (secs / 3600, secs / 60 % 60, secs % 60);
                match (hours, minutes, seconds) {
                    (0, m, 0) => format!("{m}m"),
                    (0, m, s) => format!("{m}m{s:02}s"),
                    (h, 0, _) => format!("{h}h"),
                    (h, m, _) => format!("{h}h{m:02}m"),
                }
            }
        };
        f.pad(&text)
    }
}

/// A reading of the monotonic clock in nanoseconds since an origin that does not outlive the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The span from `earlier` to this reading; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0) / 1_000_000)
    }

    pub fn secs_f64_since(self, earlier: Self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for display and rates")]
        let nanos = self.0.saturating_sub(earlier.0) as f64;
        nanos / 1e9
    }
}

impl Add<Millis> for Nanos {
    type Output = Self;

    fn add(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0.saturating_mul(1_000_000)))
    }
}

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl Add<Millis> for UnixMillis {
    type Output = Self;

    fn add(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl UnixMillis {
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks, read once per event by the shell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    pub mono: Nanos,
    pub wall: UnixMillis,
}

/// The wall clock was set, or stood still while the machine slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockJump {
    pub forward: bool,
    pub by: Millis,
}

impl ClockJump {
    /// What the wall clock would have shown then, had it always gone as it does after the jump.
    #[must_use]
    pub fn move_along(self, at: UnixMillis) -> UnixMillis {
        UnixMillis(if self.forward { at.0.saturating_add(self.by.0) } else { at.0.saturating_sub(self.by.0) })
    }
}

impl fmt::Display for ClockJump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", if self.forward { "forward" } else { "back" }, self.by)
    }
}

/// Compares the two clocks from one look to the next, so that a jump of the wall clock is noticed.
#[derive(Debug, Default)]
pub struct ClockWatch {
    last: Option<Now>,
}

/// A clock that is disciplined goes wrong by less than a thousandth; what is more than this between two looks was set.
const JUMP_MIN: Millis = Millis::from_secs(2);

impl ClockWatch {
    pub fn look(&mut self, now: Now) -> Option<ClockJump> {
        let last = self.last.replace(now)?;
        let expected = last.wall + now.mono.since(last.mono);
        let forward = now.wall > expected;
        let by = if forward { now.wall.since(expected) } else { expected.since(now.wall) };
        (by >= JUMP_MIN).then_some(ClockJump { forward, by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_a_person_writes_them() {
        let shown: Vec<String> =
            [250, 4000, 4500, 1_800_000, 95_000, 4_500_000, 3_600_000].map(|ms| Millis(ms).to_string()).into();
        assert_eq!(shown, ["250ms", "4s", "4.5s", "30m", "1m35s", "1h15m", "1h"]);
    }

    #[test]
    fn compression_never_makes_a_wait_vanish() {
        assert_eq!(Millis::from_mins(30).compressed(100.0), Millis::from_secs(18));
        assert_eq!(Millis(1).compressed(1e6), Millis(1));
        assert_eq!(Millis::ZERO.compressed(100.0), Millis::ZERO);
    }

    #[test]
    fn only_a_clock_that_was_set_has_jumped() {
        let at = |mono_s: u64, wall_ms| Now { mono: Nanos(mono_s * 1_000_000_000), wall: UnixMillis(wall_ms) };
        let mut watch = ClockWatch::default();
        let looks = [(0, 50_000), (10, 60_003), (3_600, 3_648_200), (3_601, 14_449_200), (3_602, 449_200)];
        let seen = looks.map(|(mono, wall)| watch.look(at(mono, wall)));
        let jump = |forward, by| Some(ClockJump { forward, by: Millis(by) });
        assert_eq!(seen, [None, None, None, jump(true, 10_800_000), jump(false, 14_001_000)]);
    }

    #[test]
    fn what_is_moved_along_keeps_its_distance() {
        for forward in [true, false] {
            let jump = ClockJump { forward, by: Millis::from_mins(180) };
            let (began, now) = (UnixMillis(100_000_000), UnixMillis(100_007_000));
            assert_eq!(jump.move_along(now).since(jump.move_along(began)), Millis::from_secs(7));
        }
        assert_eq!(ClockJump { forward: true, by: Millis::from_mins(90) }.to_string(), "forward by 1h30m");
    }
}
