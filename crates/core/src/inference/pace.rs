//! How long calls and loads took of late.

use crate::time::{Millis, Nanos};

/// Running means, for `Retry-After` alone, and the longest of late, for what an agent may owe.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    pub(super) call_ms: f64,
    pub(super) load_ms: f64,
    call: Longest,
    load: Longest,
}

/// The greatest of what came in the last ten to twenty minutes.
#[derive(Clone, Copy, Debug, Default)]
struct Longest {
    current: u64,
    before: u64,
    since: Nanos,
}

const WINDOW: Millis = Millis::from_mins(10);

impl Longest {
    fn learn(&mut self, now: Nanos, sample: u64) {
        if now.since(self.since) >= WINDOW {
            *self = Self { current: 0, before: self.current, since: now };
        }
        self.current = self.current.max(sample);
    }

    fn get(&self) -> u64 {
        self.current.max(self.before)
    }
}

impl Default for Pace {
    fn default() -> Self {
        let longest = Longest::default();
        Self { call_ms: 1000.0, load_ms: 1000.0, call: longest, load: longest }
    }
}

impl Pace {
    pub(super) fn called(&mut self, now: Nanos, took: Nanos) {
        learn(&mut self.call_ms, took);
        self.call.learn(now, took.0);
    }

    pub(super) fn loaded(&mut self, now: Nanos, took: Nanos) {
        learn(&mut self.load_ms, took);
        self.load.learn(now, took.0);
    }

    pub(super) fn longest_call(&self) -> Millis {
        Millis(self.call.get().div_ceil(1_000_000))
    }

    pub(super) fn longest_load(&self) -> Millis {
        Millis(self.load.get().div_ceil(1_000_000))
    }
}

fn learn(mean: &mut f64, took: Nanos) {
    #[expect(clippy::cast_precision_loss, reason = "a mean of durations")]
    let ms = took.0 as f64 / 1e6;
    *mean += (ms - *mean) / 8.0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut pace = Pace::default();
        let minute = |minutes: u64| Nanos(minutes * 60_000_000_000);
        pace.called(minute(0), Nanos(9_000_000_000));
        pace.called(minute(11), Nanos(1_000_000_000));
        assert_eq!(pace.longest_call(), Millis(9000));
        pace.called(minute(22), Nanos(1_000_000));
        assert_eq!(pace.longest_call(), Millis(1000));
    }
}
