//! R40, CPU: what the fleet's own instances use, without a break. What else runs on the host does not count: a
//! rollback would not end it.

use std::collections::BTreeSet;

use super::{
    Alarm, AlarmKind, UsageBeat, WatchSetup,
    latch::Latch,
    words::{figure, seconds},
};
use crate::{
    analysis::words::{number, percent},
    id::Side,
    time::{Millis, UnixMillis},
};

/// A longer gap between beats counts as this much: nobody saw what was in between, and a clock may have jumped.
const GAP_MAX: Millis = Millis::from_secs(10);

pub(super) struct Cpu {
    share: Option<f64>,
    lasting: Millis,
    run: Option<Run>,
    latch: Latch,
}

/// Saturation that goes on.
#[derive(Clone, Copy)]
struct Run {
    since: UnixMillis,
    last: UnixMillis,
    lasted: Millis,
}

impl Cpu {
    pub(super) fn new(setup: &WatchSetup<'_>) -> Self {
        let triggers = setup.triggers;
        Self { share: triggers.cpu, lasting: triggers.cpu_for, run: None, latch: Latch::new(triggers.scope) }
    }

    pub(super) fn beat(&mut self, beat: &UsageBeat) -> Option<Alarm> {
        let limit = self.share? * f64::from(beat.cpus);
        let measured = |side: Side| {
            let usages = beat.instances.iter().filter(move |usage| usage.side == side);
            usages.filter_map(|usage| usage.cpu_cores).filter(|cores| cores.is_finite() && *cores >= 0.0)
        };
        if beat.cpus == 0 || measured(Side::Blue).chain(measured(Side::Green)).next().is_none() {
            return None;
        }
        let (blue, green): (f64, f64) = (measured(Side::Blue).sum(), measured(Side::Green).sum());
        let used = blue + green;
        if used.is_nan() || used <= limit {
            self.run = None;
            self.latch.absent();
            return None;
        }
        let run = match self.run {
            None => Run { since: beat.at, last: beat.at, lasted: Millis::ZERO },
            Some(run) => Run { last: beat.at, lasted: run.lasted + beat.at.since(run.last).min(GAP_MAX), ..run },
        };
        self.run = Some(run);
        if run.lasted < self.lasting {
            return None;
        }
        let shared = blue > limit;
        self.latch.look(BTreeSet::new(), shared)?;
        let cpus = f64::from(beat.cpus);
        let why = format!(
            "the fleet's instances use {} of {} CPUs ({}), above {} for {} without a break; green's {}, blue's {}{}",
            number(used),
            beat.cpus,
            percent(used / cpus),
            percent(limit / cpus),
            seconds(run.lasted.0),
            number(green),
            number(blue),
            if shared { ", which alone is too much" } else { "" },
        );
        Some(Alarm {
            kind: AlarmKind::Cpu,
            shared,
            harm_began: run.since,
            agents: Vec::new(),
            types: Vec::new(),
            why,
            figures: vec![
                figure("CPU of the fleet", used / cpus * 100.0, Some(limit / cpus * 100.0), "%"),
                figure("CPU of green's instances", green, None, "cores"),
                figure("CPU of blue's instances", blue, Some(limit), "cores"),
                figure("lasted", run.lasted.as_secs_f64(), Some(self.lasting.as_secs_f64()), "s"),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{
        Watch,
        tests::{Bench, usage},
    };

    fn run(watch: &mut Watch, seconds: std::ops::RangeInclusive<u64>, blue: f64, green: f64) -> Vec<(u64, Alarm)> {
        let mut fired = Vec::new();
        for second in seconds {
            let instances = vec![usage("a1", Side::Blue, 1, blue), usage("a2", Side::Green, 1, green)];
            let beat = UsageBeat { at: UnixMillis(second * 1000), cpus: 2, instances };
            fired.extend(watch.usage(&beat).into_iter().map(|alarm| (second, alarm)));
        }
        fired
    }

    #[test]
    fn a_minute_of_saturation_fires_once_and_less_does_not() {
        let mut watch = Bench::new(2).watch();
        assert_eq!(run(&mut watch, 1..=60, 0.6, 1.3), []);
        assert_eq!(run(&mut watch, 61..=61, 0.2, 0.2), [], "a break");
        let fired = run(&mut watch, 62..=200, 0.6, 1.3);
        assert_eq!(fired.len(), 1);
        let (second, alarm) = &fired[0];
        assert_eq!((*second, alarm.harm_began, alarm.shared), (122, UnixMillis(62_000), false));
        assert_eq!(
            alarm.why,
            "the fleet's instances use 1.9 of 2 CPUs (95 %), above 90 % for 60 s without a break; green's 1.3, blue's 0.6"
        );
    }

    #[test]
    fn just_below_is_borne_for_ever() {
        assert_eq!(run(&mut Bench::new(2).watch(), 1..=3000, 0.9, 0.9), []);
    }

    #[test]
    fn blue_that_saturates_alone_is_a_shared_fault() {
        let fired = run(&mut Bench::new(2).watch(), 1..=100, 1.85, 0.05);
        assert!(fired[0].1.shared);
    }

    #[test]
    fn a_clock_that_jumped_is_no_minute() {
        let mut watch = Bench::new(2).watch();
        run(&mut watch, 1..=5, 0.6, 1.3);
        assert_eq!(run(&mut watch, 36_000..=36_010, 0.6, 1.3), []);
        assert_eq!(run(&mut watch, 36_011..=36_060, 0.6, 1.3).len(), 1);
    }

    #[test]
    fn a_beat_that_measured_nothing_is_no_break() {
        let mut watch = Bench::new(2).watch();
        run(&mut watch, 1..=50, 0.6, 1.3);
        run(&mut watch, 51..=52, f64::NAN, f64::NAN);
        assert_eq!(run(&mut watch, 53..=61, 0.6, 1.3).len(), 1);
    }
}
