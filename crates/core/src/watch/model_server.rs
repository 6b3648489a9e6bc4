//! R42: connections to the model server that fail, among those of all model calls and the gateway's own probes.
//! The probes make it work without any traffic.

use std::collections::BTreeSet;

use super::{
    Alarm, AlarmKind, WatchSetup,
    digest::Digest,
    latch::Latch,
    recent::Recent,
    roster::Roster,
    words::{add, figure, of, share},
};
use crate::{
    analysis::words::percent,
    id::{AgentName, Side},
    time::UnixMillis,
};

const WINDOW: u64 = 10;
const ATTEMPTS_MIN: u64 = 5;
/// Different seconds with a failure: one reset, however many calls it broke, is over when it is seen.
const SECONDS_MIN: usize = 3;

pub(super) struct ModelServer {
    limit: Option<f64>,
    recent: Recent<Attempts>,
    latch: Latch,
}

/// Failed ones of all, each.
#[derive(Debug, Default)]
struct Attempts {
    at: UnixMillis,
    probes: (u64, u64),
    green: (u64, u64),
    blue: (u64, u64),
    /// Greens that had a failure.
    agents: BTreeSet<AgentName>,
}

impl Attempts {
    fn failed(&self) -> bool {
        self.probes.0 > 0 || self.green.0 > 0 || self.blue.0 > 0
    }
}

impl ModelServer {
    pub(super) fn new(setup: &WatchSetup<'_>) -> Self {
        let triggers = setup.triggers;
        Self { limit: triggers.model_failures, recent: Recent::new(WINDOW), latch: Latch::new(triggers.scope) }
    }

    pub(super) fn second(&mut self, digest: &Digest, roster: &Roster) -> Option<Alarm> {
        let limit = self.limit?;
        let of_side = |side| (digest.sum(side, |sight| sight.unreachable), digest.sum(side, |sight| sight.calls));
        let failing = digest.of(Side::Green).filter(|(_, sight)| sight.unreachable > 0);
        let attempts = Attempts {
            at: digest.at,
            probes: (digest.probes_failed, digest.probes),
            green: of_side(Side::Green),
            blue: of_side(Side::Blue),
            agents: failing.map(|(agent, _)| agent.clone()).collect(),
        };
        self.recent.push(digest.number, attempts);

        let sum = |of: fn(&Attempts) -> (u64, u64)| self.recent.iter().map(of).fold((0, 0), add);
        let (probes, green, blue) = (sum(|a| a.probes), sum(|a| a.green), sum(|a| a.blue));
        let all = add(probes, add(green, blue));
        let seconds = self.recent.iter().filter(|attempts| attempts.failed()).count();
        let began = self.recent.iter().find(|attempts| attempts.failed()).map(|attempts| attempts.at);
        if all.1 < ATTEMPTS_MIN || seconds < SECONDS_MIN || share(all) <= limit {
            self.latch.absent();
            return None;
        }
        let shared = probes.0 > 0 || blue.0 > 0;
        // Where the probes or blue fail as well, green is not to blame, and nobody is.
        let blamed: BTreeSet<AgentName> = if shared {
            BTreeSet::new()
        } else {
            self.recent.iter().flat_map(|attempts| attempts.agents.iter().cloned()).collect()
        };
        let blamed = self.latch.look(blamed, shared)?;
        let why = format!(
            "{} connections to the model server failed in the last {WINDOW} s ({}), in {seconds} different seconds, \
             above {}; the gateway's own probes {}, blue's calls {}, green's {}",
            of(all),
            percent(share(all)),
            percent(limit),
            of(probes),
            of(blue),
            of(green),
        );
        let figures = [
            ("connections that failed", all),
            ("of probes", probes),
            ("of blue's calls", blue),
            ("of green's calls", green),
        ];
        Some(Alarm {
            kind: AlarmKind::ModelServer,
            shared,
            harm_began: began.unwrap_or(digest.at),
            types: roster.types_of(&blamed),
            agents: blamed.into_iter().collect(),
            why,
            figures: figures
                .into_iter()
                .map(|(name, counts)| figure(name, share(counts) * 100.0, Some(limit * 100.0), "%"))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::{
        Watch,
        tests::{Bench, cell, second},
    };

    /// Seconds with so many failed probes of one, and calls of a green and a blue agent.
    fn feed(watch: &mut Watch, number: u64, probe_failed: bool, green: (u64, u64), blue: (u64, u64)) -> Vec<Alarm> {
        let calls = |agent, side, (failed, all): (u64, u64)| {
            let mut cell = cell(agent, side, 0, 0);
            cell.calls.succeeded = all - failed;
            (cell.calls.failed, cell.calls.unreachable) = (failed, failed);
            cell
        };
        let mut second = second(number, vec![calls("a1", Side::Green, green), calls("a2", Side::Blue, blue)]);
        (second.probes, second.probes_failed) = (1, u32::from(probe_failed));
        watch.second(&second, 0)
    }

    #[test]
    fn without_traffic_the_probes_show_it_in_three_seconds() {
        let mut watch = Bench::new(2).watch();
        for number in 1..=20 {
            assert_eq!(feed(&mut watch, number, false, (0, 0), (0, 0)), []);
        }
        let fired: Vec<usize> = (21..=40).map(|number| feed(&mut watch, number, true, (0, 0), (0, 0)).len()).collect();
        assert_eq!(fired.iter().sum::<usize>(), 1);
        assert_eq!(fired[2], 1, "{fired:?}");
    }

    #[test]
    fn it_says_who_could_not_connect() {
        let mut watch = Bench::new(2).watch();
        (1..=7).for_each(|number| assert_eq!(feed(&mut watch, number, false, (0, 1), (0, 1)), []));
        feed(&mut watch, 8, true, (1, 1), (1, 1));
        feed(&mut watch, 9, true, (1, 1), (1, 1));
        let alarm = feed(&mut watch, 10, true, (1, 1), (1, 1)).remove(0);
        assert_eq!(
            alarm.why,
            "9 of 30 connections to the model server failed in the last 10 s (30 %), in 3 different seconds, above 10 %; \
             the gateway's own probes 3 of 10, blue's calls 3 of 10, green's 3 of 10"
        );
        assert!(alarm.shared && alarm.agents.is_empty());
        assert_eq!(alarm.harm_began, second(8, vec![]).at);
    }

    #[test]
    fn one_reset_does_not_fire_however_many_calls_it_breaks() {
        let mut watch = Bench::new(2).watch();
        for number in 1..=100 {
            let reset = number % 10 < 2;
            let calls = (u64::from(reset) * 50, 50);
            assert_eq!(feed(&mut watch, number, false, calls, (0, 0)), []);
        }
    }

    #[test]
    fn a_tenth_is_borne() {
        let mut watch = Bench::new(2).watch();
        (1..=100).for_each(|number| assert_eq!(feed(&mut watch, number, false, (2, 20), (0, 0)), []));
    }

    #[test]
    fn where_only_greens_calls_fail_green_is_named() {
        let mut watch = Bench::new(2).watch();
        let alarms: Vec<Alarm> = (1..=5).flat_map(|number| feed(&mut watch, number, false, (3, 3), (0, 3))).collect();
        assert!(!alarms[0].shared && alarms[0].agents == ["a1".into()]);
    }

    #[test]
    fn it_fires_again_after_the_server_was_back() {
        let mut watch = Bench::new(2).watch();
        let mut number = 0;
        let mut run = |seconds: u64, down| -> usize {
            (0..seconds)
                .map(|_| {
                    number += 1;
                    feed(&mut watch, number, down, (0, 0), (0, 0)).len()
                })
                .sum()
        };
        assert_eq!([run(10, true), run(20, false), run(10, true)], [1, 0, 1]);
    }
}
