//! R40, memory: of the fleet over what it may use, and of a green instance over its own limit.
//!
//! Two beats in a row, so that a process that is just being replaced by another is no alarm.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Alarm, AlarmKind, InstanceUsage, UsageBeat, WatchSetup,
    latch::Latch,
    roster::Roster,
    words::{agents, bytes, figure, mib, names},
};
use crate::{
    analysis::{
        exact::real,
        words::{number, percent},
    },
    id::{AgentName, Side},
    time::UnixMillis,
};

const BEATS: u32 = 2;
/// A green that uses so much more than its own blue did is named where the fleet uses too much.
const GREW: f64 = 1.5;
const GREW_FLOOR_BYTES: f64 = 16_777_216.0;

pub(super) struct Memory {
    share: Option<f64>,
    capacity_bytes: u64,
    limits: BTreeMap<AgentName, u64>,
    /// What each agent's blue used in the baseline.
    blue_bytes: BTreeMap<AgentName, f64>,
    fleet: Above,
    fleet_latch: Latch,
    fleet_bytes: u64,
    own: BTreeMap<AgentName, Above>,
    own_latch: Latch,
}

/// Since when, and for how many beats in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Above {
    since: UnixMillis,
    beats: u32,
}

impl Above {
    fn beat(&mut self, at: UnixMillis, above: bool) -> bool {
        if !above {
            self.beats = 0;
        } else if self.beats == 0 {
            *self = Self { since: at, beats: 1 };
        } else {
            self.beats = self.beats.saturating_add(1);
        }
        self.beats >= BEATS
    }
}

impl Memory {
    pub(super) fn new(setup: &WatchSetup<'_>) -> Self {
        let window = setup.baseline.window();
        let blue = |(agent, _, _): &(AgentName, _, _)| Some((agent.clone(), window.memory_of(agent, Side::Blue)?));
        Self {
            share: setup.triggers.memory,
            capacity_bytes: setup.memory_capacity_bytes,
            limits: setup.memory_limits.clone(),
            blue_bytes: setup.agents.iter().filter_map(blue).collect(),
            fleet: Above::default(),
            fleet_latch: Latch::new(setup.triggers.scope),
            fleet_bytes: 0,
            own: BTreeMap::new(),
            own_latch: Latch::new(setup.triggers.scope),
        }
    }

    pub(super) fn beat(&mut self, beat: &UsageBeat, roster: &Roster) -> Vec<Alarm> {
        let Some(share) = self.share else { return Vec::new() };
        let known: Vec<&InstanceUsage> = beat.instances.iter().filter(|usage| roster.knows(&usage.agent)).collect();
        self.of_fleet(beat.at, &known, share, roster)
            .into_iter()
            .chain(self.of_greens(beat.at, &known, share, roster))
            .collect()
    }

    /// Whether the last beat was over the fleet's limit, in words.
    pub(super) fn standing(&self) -> Option<String> {
        let share = self.share.filter(|&share| self.above(self.fleet_bytes, share))?;
        Some(format!(
            "the fleet uses {} of the {} of memory that it may use, above {}",
            bytes(self.fleet_bytes),
            bytes(self.capacity_bytes),
            percent(share)
        ))
    }

    fn of_fleet(&mut self, at: UnixMillis, usages: &[&InstanceUsage], share: f64, roster: &Roster) -> Option<Alarm> {
        let sum = |side: Side| {
            let of_side = usages.iter().filter(|usage| usage.side == side);
            of_side.fold(0_u64, |sum, usage| sum.saturating_add(usage.memory_bytes))
        };
        let (blue, green) = (sum(Side::Blue), sum(Side::Green));
        self.fleet_bytes = blue.saturating_add(green);
        let above = self.above(self.fleet_bytes, share);
        if !self.fleet.beat(at, above) {
            if !above {
                self.fleet_latch.absent();
            }
            return None;
        }
        let shared = self.above(blue, share);
        let grown = self.fleet_latch.look(self.grown(usages), shared)?;
        let blamed = if grown.is_empty() {
            String::new()
        } else {
            format!("; at least {} times what blue used: {}", number(GREW), names(&grown))
        };
        let why = format!(
            "the fleet uses {} of the {} of memory that it may use ({}), above {} since {} beats; green's instances {}, blue's {}{}{blamed}",
            bytes(self.fleet_bytes),
            bytes(self.capacity_bytes),
            percent(real(self.fleet_bytes) / real(self.capacity_bytes)),
            percent(share),
            self.fleet.beats,
            bytes(green),
            bytes(blue),
            if shared { ", which alone is too much" } else { "" },
        );
        let limit = Some(share * mib(self.capacity_bytes));
        Some(Alarm {
            kind: AlarmKind::Memory,
            shared,
            harm_began: self.fleet.since,
            types: roster.types_of(&grown),
            agents: grown.into_iter().collect(),
            why,
            figures: vec![
                figure("memory of the fleet", mib(self.fleet_bytes), limit, "MiB"),
                figure("memory of green's instances", mib(green), None, "MiB"),
                figure("memory of blue's instances", mib(blue), limit, "MiB"),
            ],
        })
    }

    fn of_greens(&mut self, at: UnixMillis, usages: &[&InstanceUsage], share: f64, roster: &Roster) -> Option<Alarm> {
        let limits = &self.limits;
        let over = |usage: &InstanceUsage| {
            limits.get(&usage.agent).is_some_and(|&limit| over(usage.memory_bytes, limit, share))
        };
        let side = |side: Side| -> BTreeMap<&AgentName, u64> {
            let mut most = BTreeMap::new();
            for usage in usages.iter().filter(|usage| usage.side == side && over(usage)) {
                let held: &mut u64 = most.entry(&usage.agent).or_default();
                *held = (*held).max(usage.memory_bytes);
            }
            most
        };
        let (greens, blues) = (side(Side::Green), side(Side::Blue));
        self.own.retain(|agent, _| greens.contains_key(agent));
        let mut hit = BTreeSet::new();
        for &agent in greens.keys() {
            if self.own.entry(agent.clone()).or_default().beat(at, true) {
                hit.insert(agent.clone());
            }
        }
        if hit.is_empty() {
            if greens.is_empty() {
                self.own_latch.absent();
            }
            return None;
        }
        let was_over = |agent: &AgentName| {
            let (Some(&was), Some(&limit)) = (self.blue_bytes.get(agent), self.limits.get(agent)) else { return false };
            was > share * real(limit)
        };
        let shared = hit.iter().all(|agent| blues.contains_key(agent) || was_over(agent));
        let hit = self.own_latch.look(hit, shared)?;
        let worst = hit.iter().max_by_key(|&agent| greens.get(agent)).cloned()?;
        let used = greens.get(&worst).copied().unwrap_or_default();
        let limit = self.limits.get(&worst).copied().unwrap_or_default();
        let others =
            if hit.len() > 1 { format!("; over their own limits are {}", agents(&hit)) } else { String::new() };
        let why = format!(
            "the green instance of {worst} uses {} of its own limit of {} ({}), above {} since {} beats{}{others}",
            bytes(used),
            bytes(limit),
            percent(real(used) / real(limit.max(1))),
            percent(share),
            self.own.get(&worst).map_or(BEATS, |above| above.beats),
            if shared { "; so does its blue" } else { "" },
        );
        let began = hit.iter().filter_map(|agent| self.own.get(agent)).map(|above| above.since).min().unwrap_or(at);
        let each = hit.iter().map(|agent| {
            let limit = self.limits.get(agent).map(|&limit| share * mib(limit));
            figure(format!("memory of {agent}"), mib(greens.get(agent).copied().unwrap_or_default()), limit, "MiB")
        });
        Some(Alarm {
            kind: AlarmKind::Memory,
            shared,
            harm_began: began,
            types: roster.types_of(&hit),
            figures: each.collect(),
            agents: hit.into_iter().collect(),
            why,
        })
    }

    fn above(&self, used: u64, share: f64) -> bool {
        over(used, self.capacity_bytes, share)
    }

    /// Greens that use far more than their own blue did.
    fn grown(&self, usages: &[&InstanceUsage]) -> BTreeSet<AgentName> {
        let far_more = |usage: &&&InstanceUsage| {
            self.blue_bytes.get(&usage.agent).is_some_and(|&was| {
                let now = real(usage.memory_bytes);
                now > was * GREW && now > was + GREW_FLOOR_BYTES
            })
        };
        let greens = usages.iter().filter(|usage| usage.side == Side::Green);
        greens.filter(far_more).map(|usage| usage.agent.clone()).collect()
    }
}

/// No capacity is one that could not be found out, and says nothing.
fn over(used: u64, capacity: u64, share: f64) -> bool {
    capacity > 0 && real(used) > share * real(capacity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests::{Bench, usage};

    const MIB: u64 = 1 << 20;

    fn beat(at: u64, instances: Vec<InstanceUsage>) -> UsageBeat {
        UsageBeat { at: UnixMillis(at), cpus: 2, instances }
    }

    fn bench() -> Bench {
        let mut bench = Bench::new(4);
        bench.capacity = 1000 * MIB;
        bench.memory_limits = [("a1".into(), 100 * MIB), ("a2".into(), 100 * MIB)].into();
        bench
    }

    /// The kinds of use in the order of `a1`, `a2`: green, then blue.
    fn of(green: &[u64], blue: &[u64]) -> Vec<InstanceUsage> {
        let side = |side, mib: &[u64]| {
            let usages = mib
                .iter()
                .enumerate()
                .map(|(i, mib)| usage(&format!("a{}", i + 1), side, mib.saturating_mul(MIB), 0.1));
            usages.collect::<Vec<_>>()
        };
        [side(Side::Green, green), side(Side::Blue, blue)].concat()
    }

    #[test]
    fn the_fleet_over_its_share_fires_at_the_second_beat_and_counts_from_the_first() {
        let mut watch = bench().watch();
        assert!(watch.usage(&beat(1000, of(&[10, 10, 880], &[]))).is_empty(), "exactly at it is not above");
        assert!(watch.usage(&beat(2000, of(&[10, 10, 881], &[]))).is_empty());
        let alarms = watch.usage(&beat(3000, of(&[10, 10, 890], &[])));
        assert_eq!(alarms.len(), 1);
        assert_eq!(
            (alarms[0].kind, alarms[0].shared, alarms[0].harm_began),
            (AlarmKind::Memory, false, UnixMillis(2000))
        );
        assert_eq!(
            alarms[0].why,
            "the fleet uses 910 MiB of the 1000 MiB of memory that it may use (91 %), above 90 % since 2 beats; \
             green's instances 910 MiB, blue's 0 MiB"
        );
        assert!(watch.usage(&beat(4000, of(&[10, 10, 890], &[]))).is_empty(), "once per cause");
    }

    #[test]
    fn one_beat_now_and_then_is_no_alarm() {
        let mut watch = bench().watch();
        for at in 0..50 {
            let used = if at % 2 == 0 { 950 } else { 100 };
            assert!(watch.usage(&beat(at * 1000, of(&[10, 10, used], &[]))).is_empty());
        }
    }

    #[test]
    fn a_fleet_that_is_too_large_without_green_is_a_shared_fault() {
        let mut watch = bench().watch();
        watch.usage(&beat(1000, of(&[10], &[10, 10, 950])));
        let alarms = watch.usage(&beat(2000, of(&[10], &[10, 10, 950])));
        assert!(alarms[0].shared && alarms[0].why.contains("which alone is too much"), "{}", alarms[0].why);
        assert!(watch.fault_of_blue().unwrap().starts_with("the fleet uses 980 MiB of the 1000 MiB"));
    }

    #[test]
    fn who_grew_is_named() {
        let mut bench = bench();
        bench.blue_memory = 50 * MIB;
        let mut watch = bench.watch();
        watch.usage(&beat(1000, of(&[55, 60, 850], &[])));
        let alarm = watch.usage(&beat(2000, of(&[55, 60, 850], &[]))).remove(0);
        assert_eq!(alarm.agents, ["a3".into()]);
        assert!(alarm.why.ends_with("at least 1.5 times what blue used: a3"), "{}", alarm.why);
    }

    #[test]
    fn a_green_over_its_own_limit_fires_and_a_blue_does_not() {
        let mut watch = bench().watch();
        for at in 1..20 {
            assert!(watch.usage(&beat(at * 1000, of(&[90, 20], &[20, 99]))).is_empty());
        }
        assert!(watch.usage(&beat(20_000, of(&[91, 20], &[20, 99]))).is_empty());
        let alarm = watch.usage(&beat(21_000, of(&[95, 20], &[20, 99]))).remove(0);
        assert_eq!((alarm.agents.as_slice(), alarm.harm_began), (&["a1".into()][..], UnixMillis(20_000)));
        assert_eq!(
            alarm.why,
            "the green instance of a1 uses 95 MiB of its own limit of 100 MiB (95 %), above 90 % since 2 beats"
        );
        assert!(!alarm.shared);
    }

    #[test]
    fn it_fires_again_after_it_was_gone() {
        let mut watch = bench().watch();
        let mut at = 0;
        let mut run = |used: u64, beats: usize| -> usize {
            (0..beats)
                .map(|_| {
                    at += 1000;
                    watch.usage(&beat(at, of(&[used], &[]))).len()
                })
                .sum()
        };
        assert_eq!([run(95, 4), run(10, 5), run(95, 4), run(10, 2), run(95, 4)], [1, 0, 1, 0, 0]);
    }

    #[test]
    fn switched_off_or_without_a_capacity_it_says_nothing() {
        let mut off = bench();
        off.triggers.memory = None;
        let mut unknown = bench();
        unknown.capacity = 0;
        for bench in [off, unknown] {
            let mut watch = bench.watch();
            let alarms = (0..5).flat_map(|at| watch.usage(&beat(at, of(&[0, 0, u64::MAX], &[])))).count();
            assert_eq!(alarms, 0);
        }
    }
}
