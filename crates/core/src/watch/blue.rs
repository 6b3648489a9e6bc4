//! What still stands against blue after a rollback: only records in which green does nothing any more say it.
//!
//! Works without any traffic: the gateway's own probes and the health checks are enough.

use super::{
    WatchSetup,
    common_errors::usual_error_rate,
    digest::Digest,
    recent::Recent,
    words::{add, share},
};
use crate::{
    analysis::{
        exact::at_least,
        words::{count, percent},
    },
    id::Side,
    time::UnixMillis,
};

/// Records that are looked at.
const WINDOW: u64 = 5;
/// Records without green before anything can be said.
const ALONE_MIN: usize = 2;
/// Errors that are no coincidence, and the chance of so many at the baseline's rate.
const ERRORS_MIN: u64 = 3;
const CHANCE: f64 = 0.01;
/// Where the triggers say nothing.
const ERRORS_SEVERE: f64 = 0.05;

pub(super) struct BlueAlone {
    errors_severe: f64,
    usual: f64,
    model_failures: Option<f64>,
    /// Records since green's last.
    recent: Recent<Look>,
    at: UnixMillis,
}

#[derive(Debug)]
struct Look {
    /// Failed connections to the model server, of all.
    connections: (u64, u64),
    /// Blue's errors, of its outcomes.
    errors: (u64, u64),
}

impl BlueAlone {
    pub(super) fn new(setup: &WatchSetup<'_>) -> Self {
        Self {
            errors_severe: setup.triggers.errors.unwrap_or(ERRORS_SEVERE),
            usual: usual_error_rate(setup.baseline.window()),
            model_failures: setup.triggers.model_failures,
            recent: Recent::new(WINDOW),
            at: UnixMillis::default(),
        }
    }

    pub(super) fn second(&mut self, digest: &Digest) {
        self.at = self.at.max(digest.at);
        if digest.of(Side::Green).next().is_some() {
            self.recent.clear();
            return;
        }
        let unreachable = digest.sum(Side::Blue, |sight| sight.unreachable);
        let look = Look {
            connections: add(
                (digest.probes_failed, digest.probes),
                (unreachable, digest.sum(Side::Blue, |sight| sight.calls)),
            ),
            errors: (
                digest.sum(Side::Blue, |sight| sight.errors),
                digest.sum(Side::Blue, |sight| sight.good.saturating_add(sight.errors)),
            ),
        };
        self.recent.push(digest.number, look);
    }

    /// The latest moment that a record told of.
    pub(super) fn now(&self) -> UnixMillis {
        self.at
    }

    pub(super) fn faults(&self) -> Vec<String> {
        let alone = self.recent.iter().count();
        if alone < ALONE_MIN {
            return vec![format!(
                "blue has worked without green for only {alone} of the {ALONE_MIN} s that a check takes"
            )];
        }
        self.model_server().into_iter().chain(self.errors()).collect()
    }

    /// In the last records in which anybody tried to connect: what was before has been mended.
    fn model_server(&self) -> Option<String> {
        let limit = self.model_failures?;
        let tried = self.recent.iter().rev().filter(|look| look.connections.1 > 0).take(ALONE_MIN);
        let last = tried.map(|look| look.connections).fold((0, 0), add);
        (share(last) > limit).then(|| {
            let (failed, all) = last;
            format!(
                "the model server is out of reach: {} of the last {} connections failed, above {}",
                count(failed),
                count(all),
                percent(limit)
            )
        })
    }

    fn errors(&self) -> Option<String> {
        let (errors, outcomes) = self.recent.iter().map(|look| look.errors).fold((0, 0), add);
        let unusual = || at_least(errors, outcomes, self.usual) < CHANCE;
        (errors >= ERRORS_MIN && share((errors, outcomes)) > self.errors_severe && unusual()).then(|| {
            format!(
                "{} of blue's {} tasks and requests in the last {WINDOW} s failed, above {}",
                percent(share((errors, outcomes))),
                count(outcomes),
                percent(self.errors_severe)
            )
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

    fn probed(number: u64, cells: Vec<crate::observation::Cell>, failed: bool) -> crate::observation::Second {
        let mut second = second(number, cells);
        (second.probes, second.probes_failed) = (1, u32::from(failed));
        second
    }

    fn feed(watch: &mut Watch, seconds: Vec<crate::observation::Second>) -> Option<String> {
        for second in seconds {
            watch.second(&second, 0);
        }
        watch.fault_of_blue()
    }

    #[test]
    fn two_clean_seconds_without_green_suffice_and_need_no_traffic() {
        let mut watch = Bench::new(2).watch();
        assert!(watch.fault_of_blue().unwrap().contains("only 0 of the 2 s"));
        assert!(feed(&mut watch, vec![probed(1, vec![cell("a1", Side::Green, 1, 0)], false)]).is_some());
        assert_eq!(
            feed(&mut watch, vec![probed(2, vec![], false)]).unwrap(),
            "blue has worked without green for only 1 of the 2 s that a check takes"
        );
        assert_eq!(feed(&mut watch, vec![probed(3, vec![], false)]), None);
        assert!(feed(&mut watch, vec![probed(4, vec![cell("a1", Side::Green, 0, 1)], false)]).is_some(), "green again");
    }

    #[test]
    fn a_model_server_that_is_down_stands_until_it_answers() {
        let mut watch = Bench::new(2).watch();
        let fault = feed(&mut watch, vec![probed(1, vec![], true), probed(2, vec![], true)]).unwrap();
        assert_eq!(fault, "the model server is out of reach: 2 of the last 2 connections failed, above 10 %");
        assert!(feed(&mut watch, vec![second(3, vec![])]).is_some(), "nobody asked, so nothing was mended");
        assert!(feed(&mut watch, vec![probed(4, vec![], false)]).is_some());
        assert_eq!(feed(&mut watch, vec![probed(5, vec![], false)]), None);
    }

    #[test]
    fn blue_that_fails_stands_and_a_single_failure_does_not() {
        let mut watch = Bench::new(2).watch();
        let failing = |number| probed(number, vec![cell("a1", Side::Blue, 2, 2)], false);
        assert_eq!(
            feed(&mut watch, vec![failing(1), failing(2)]).unwrap(),
            "50 % of blue's 8 tasks and requests in the last 5 s failed, above 5 %"
        );
        let well = |number| probed(number, vec![cell("a1", Side::Blue, 30, 0)], false);
        assert_eq!(feed(&mut watch, (3..8).map(well).collect()), None);
        assert_eq!(feed(&mut watch, vec![probed(8, vec![cell("a1", Side::Blue, 0, 1)], false)]), None);
    }

    #[test]
    fn what_green_left_behind_is_not_blues() {
        let mut watch = Bench::new(2).watch();
        let failing = |number| probed(number, vec![cell("a1", Side::Green, 0, 9)], true);
        feed(&mut watch, (1..20).map(failing).collect());
        assert_eq!(feed(&mut watch, vec![probed(20, vec![], false), probed(21, vec![], false)]), None);
    }
}
