//! Failures in a row of one green agent (ANALYSIS §3.4; R41, and R91 where its answers are empty). An agent that
//! fails for ever is one onset to the error test, so this acts alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Alarm, AlarmKind, WatchSetup,
    digest::Digest,
    latch::Latch,
    roster::{Roster, alike},
    words::{agents, figure},
};
use crate::{
    analysis::{exact::real, words::count},
    id::{AgentName, Side},
    time::UnixMillis,
};

/// One failure is never a streak, whatever the chances are thought to be.
const STREAK_MIN: u64 = 2;

pub(super) struct Streaks {
    on: bool,
    green: BTreeMap<AgentName, Run>,
    blue: BTreeMap<AgentName, u64>,
    latch: Latch,
}

#[derive(Clone, Debug)]
struct Run {
    since: UnixMillis,
    length: u64,
    empty: u64,
}

impl Streaks {
    pub(super) fn new(setup: &WatchSetup<'_>) -> Self {
        let triggers = setup.triggers;
        Self {
            on: triggers.errors.is_some(),
            green: BTreeMap::new(),
            blue: BTreeMap::new(),
            latch: Latch::new(triggers.scope),
        }
    }

    /// `limit` failures in a row do not happen by chance.
    pub(super) fn second(&mut self, digest: &Digest, limit: u64, roster: &Roster) -> Option<Alarm> {
        if !self.on {
            return None;
        }
        let limit = limit.max(STREAK_MIN);
        self.note(digest, roster);
        let hit = self.green.iter().filter(|(_, run)| run.length >= limit).map(|(agent, _)| agent.clone());
        let hit: BTreeSet<AgentName> = hit.collect();
        if hit.is_empty() {
            self.latch.absent();
            return None;
        }
        let blue_hit = self.blue.values().filter(|&&length| length >= limit).count() as u64;
        let of = |side| roster.at_work(side, digest.number, u64::MAX);
        let shared = alike((hit.len() as u64, of(Side::Green)), (blue_hit, of(Side::Blue)));
        let hit = self.latch.look(hit, shared)?;
        let runs: Vec<(&AgentName, &Run)> = hit.iter().filter_map(|agent| self.green.get_key_value(agent)).collect();
        let (worst, run) = runs.iter().max_by_key(|(_, run)| run.length)?;
        let empty = match run.empty {
            0 => String::new(),
            some if some >= run.length => ", each with an empty answer".to_owned(),
            some => format!(", {} of them with an empty answer", count(some)),
        };
        let others =
            if hit.len() > 1 { format!("; so many failed in a row at {}", agents(&hit)) } else { String::new() };
        let why = format!(
            "green's {worst} failed {} times in a row{empty}; {} in a row do not happen by chance{others}{}",
            count(run.length),
            count(limit),
            if shared { format!("; {} of blue's agents fail alike", count(blue_hit)) } else { String::new() },
        );
        let began = runs.iter().map(|(_, run)| run.since).min().unwrap_or(digest.at);
        let figures = runs
            .iter()
            .map(|(agent, run)| {
                figure(format!("failures in a row of {agent}"), real(run.length), Some(real(limit)), "")
            })
            .collect();
        Some(Alarm {
            kind: AlarmKind::FailureStreak,
            shared,
            harm_began: began,
            types: roster.types_of(&hit),
            agents: hit.into_iter().collect(),
            why,
            figures,
        })
    }

    fn note(&mut self, digest: &Digest, roster: &Roster) {
        self.green.retain(|agent, _| !roster.back_on_blue(agent));
        for (agent, sight) in digest.of(Side::Green) {
            if sight.streak > 0 {
                let run = self.green.entry(agent.clone()).or_insert(Run { since: digest.at, length: 0, empty: 0 });
                if sight.streak < run.length || sight.good > 0 {
                    // It ended within the second and another one began.
                    *run = Run { since: digest.at, length: 0, empty: 0 };
                }
                run.length = sight.streak;
                run.empty = run.empty.saturating_add(sight.empty).min(run.length);
            } else if sight.good > 0 {
                self.green.remove(agent);
            }
        }
        for (agent, sight) in digest.of(Side::Blue) {
            if sight.streak > 0 {
                self.blue.insert(agent.clone(), sight.streak);
            } else if sight.good > 0 {
                self.blue.remove(agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests::{Bench, cell, second};

    /// A green or blue agent whose streak stands at `streak` at the end of the second.
    fn failing(agent: &str, side: Side, streak: u64, empty: u64) -> crate::observation::Cell {
        let mut cell = cell(agent, side, 0, 1);
        cell.signs.streak = streak;
        cell.signs.empty = empty;
        cell
    }

    struct Rig {
        bench: Bench,
        streaks: Streaks,
        number: u64,
    }

    impl Rig {
        fn new() -> Self {
            let bench = Bench::new(20);
            let streaks = bench.with(Streaks::new);
            Self { bench, streaks, number: 0 }
        }

        fn feed(&mut self, cells: Vec<crate::observation::Cell>) -> Option<Alarm> {
            self.number += 1;
            let digest = Digest::new(&second(self.number, cells), &self.bench.roster);
            self.bench.roster.note(&digest);
            self.streaks.second(&digest, 12, &self.bench.roster)
        }
    }

    #[test]
    fn so_many_in_a_row_fire_and_one_less_does_not() {
        let mut rig = Rig::new();
        assert_eq!(rig.feed(vec![cell("a1", Side::Green, 1, 0)]), None);
        for streak in 1..12 {
            assert_eq!(rig.feed(vec![failing("a1", Side::Green, streak, 1)]), None);
        }
        let alarm = rig.feed(vec![failing("a1", Side::Green, 12, 1)]).unwrap();
        assert_eq!(
            alarm.why,
            "green's a1 failed 12 times in a row, each with an empty answer; 12 in a row do not happen by chance"
        );
        assert_eq!((alarm.harm_began, alarm.shared, alarm.agents.len()), (second(2, vec![]).at, false, 1));
        assert_eq!(rig.feed(vec![failing("a1", Side::Green, 13, 1)]), None);
        for _ in 0..5 {
            assert_eq!(rig.feed(vec![cell("a1", Side::Green, 1, 0)]), None);
        }
        assert!(rig.feed(vec![failing("a1", Side::Green, 12, 0)]).is_some(), "it had gone");
    }

    #[test]
    fn blue_may_fail_as_it_did_before() {
        let mut rig = Rig::new();
        for streak in 1..100 {
            assert_eq!(rig.feed(vec![failing("a1", Side::Blue, streak, 0)]), None);
        }
    }

    #[test]
    fn failures_that_pause_are_still_in_a_row() {
        let mut rig = Rig::new();
        rig.feed(vec![failing("a1", Side::Green, 11, 0)]);
        for _ in 0..100 {
            rig.feed(vec![cell("a1", Side::Green, 0, 0)]);
        }
        let alarm = rig.feed(vec![failing("a1", Side::Green, 12, 0)]).unwrap();
        assert_eq!(alarm.harm_began, second(1, vec![]).at);
    }

    #[test]
    fn where_blue_fails_alike_it_is_shared() {
        let mut rig = Rig::new();
        let mut all: Vec<_> = (1..=10).map(|i| failing(&format!("a{i}"), Side::Blue, 15, 0)).collect();
        all.extend((11..=20).map(|i| failing(&format!("a{i}"), Side::Green, 15, 0)));
        let alarm = rig.feed(all).unwrap();
        assert!(alarm.shared && alarm.agents.len() == 10, "{}", alarm.why);
    }
}
