//! What the rounds found, and whether it is as it has to be.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    Plan,
    requests::{Asked, End, What},
    rolling::Rolled,
    rounds::{Kill, VICTIMS, Victim},
    world::Instance,
};
use crate::common::account::Account;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) agents: usize,
    pub(crate) rounds: Vec<Round>,
    pub(crate) rolled: Rolled,
    /// Requests of the clients that never ask again.
    pub(crate) pushes: usize,
    pub(crate) calls: usize,
    /// Failures that no kill accounts for, in words.
    pub(crate) unaccounted: Vec<String>,
    /// Instances that ended although nobody asked them to.
    pub(crate) ended_unasked: usize,
    pub(crate) account: Account,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) victim: Victim,
    pub(crate) at_boundary: bool,
    /// Until all that died of it was dead, and until somebody answered.
    pub(crate) dead_ms: f64,
    pub(crate) back_ms: f64,
    /// Requests under way between the kill and the death, and those of them that failed.
    pub(crate) in_flight: BTreeMap<What, u64>,
    pub(crate) failed: BTreeMap<What, u64>,
    /// Requests that found nobody listening.
    pub(crate) refused: u64,
    /// Submissions of tasks whose answer was lost: made again under their id.
    pub(crate) answers_lost: u64,
}

/// The rounds of one victim.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sum {
    pub(crate) victim: Victim,
    pub(crate) rounds: usize,
    pub(crate) boundaries: usize,
    pub(crate) back_p50_ms: f64,
    pub(crate) back_max_ms: f64,
    pub(crate) in_flight: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) answers_lost: u64,
}

const UNACCOUNTED_NAMED_MAX: usize = 20;
/// A gateway that was killed serves again within this.
const GATEWAY_BACK_MAX_MS: f64 = 1000.0;

impl Outcome {
    pub(super) fn of(
        plan: &Plan,
        kills: Vec<Kill>,
        mut rolled: Rolled,
        asked: &[Asked],
        account: Account,
        instances: &BTreeMap<u64, Instance>,
    ) -> Self {
        rolled.explain_refused(&kills);
        let mut rounds: Vec<Round> = kills.iter().map(|kill| Round::of(kill, asked)).collect();
        let mut unaccounted = Vec::new();
        for one in asked.iter().filter(|one| one.end != End::Answered) {
            match blamed(one, &kills) {
                Some(round) if one.end == End::Refused => rounds[round].refused += 1,
                Some(round) => *rounds[round].failed.entry(one.what).or_default() += 1,
                None => unaccounted.push(told(one, &kills)),
            }
        }
        // The window of a round is the one that was opened for it; the first is from before.
        for (round, window) in rounds.iter_mut().zip(account.windows.iter().skip(1)) {
            round.answers_lost = window.unanswered + window.requests.failed;
        }
        Self {
            seed: plan.seed,
            agents: plan.agents + plan.pushed,
            rounds,
            rolled,
            pushes: asked.iter().filter(|one| one.what == What::Push).count(),
            calls: asked.iter().filter(|one| one.what == What::ModelCall).count(),
            unaccounted,
            ended_unasked: instances.values().filter(|instance| instance.ended && !instance.asked).count(),
            account,
        }
    }

    pub(crate) fn sums(&self) -> Vec<Sum> {
        let of = |victim: Victim| {
            let rounds: Vec<&Round> = self.rounds.iter().filter(|round| round.victim == victim).collect();
            let mut back: Vec<f64> = rounds.iter().map(|round| round.back_ms).collect();
            back.sort_by(f64::total_cmp);
            let sum = |count: &dyn Fn(&Round) -> u64| rounds.iter().map(|round| count(round)).sum();
            Some(Sum {
                victim,
                rounds: rounds.len(),
                boundaries: rounds.iter().filter(|round| round.at_boundary).count(),
                back_p50_ms: *back.get(back.len() / 2)?,
                back_max_ms: *back.last()?,
                in_flight: sum(&|round| round.in_flight.values().sum()),
                failed: sum(&|round| round.failed.values().sum()),
                refused: sum(&|round| round.refused),
                answers_lost: sum(&|round| round.answers_lost),
            })
        };
        VICTIMS.into_iter().filter_map(of).collect()
    }

    /// What must not be, in words. Nothing: the run has passed.
    pub(crate) fn violations(&self, plan: &Plan) -> Vec<String> {
        let tasks = self.account.tasks;
        let mut found = Vec::new();
        let mut hold = |holds: bool, what: String| {
            if !holds {
                found.push(what);
            }
        };
        hold(tasks.lost == 0, format!("{} tasks lost: {}", tasks.lost, self.account.lost_ids.join(", ")));
        hold(tasks.duplicated == 0, format!("{} tasks accepted twice", tasks.duplicated));
        hold(
            self.account.requests.failed == 0,
            format!("{} submissions failed for good: {:?}", self.account.requests.failed, self.account.refusals),
        );
        hold(
            self.unaccounted.is_empty(),
            format!("{} requests failed that no kill accounts for", self.unaccounted.len()),
        );
        hold(self.ended_unasked == 0, format!("{} instances ended although nobody asked", self.ended_unasked));
        hold(self.rolled.otherwise.is_empty(), format!("rollouts ended otherwise: {:?}", self.rolled.otherwise));
        hold(self.rounds.len() == plan.rounds, format!("{} rounds of {}", self.rounds.len(), plan.rounds));
        hold(tasks.completed > 0, "no task was completed, so this run tested nothing".to_owned());
        for (n, round) in self.rounds.iter().enumerate() {
            let (failed, in_flight) = (round.failed.values().sum::<u64>(), round.in_flight.values().sum::<u64>());
            hold(failed <= in_flight, format!("round {n}: {failed} failed of {in_flight} in flight"));
            match round.victim {
                Victim::Controller => hold(
                    failed + round.refused + round.answers_lost == 0,
                    format!("round {n}: a controller was killed, and {failed} requests failed: {round:?}"),
                ),
                Victim::Gateway => {
                    hold(round.refused == 0, format!("round {n}: {} found no socket", round.refused));
                    hold(
                        round.back_ms <= GATEWAY_BACK_MAX_MS,
                        format!("round {n}: the gateway was back after {:.0} ms", round.back_ms),
                    );
                }
                // The sockets die with it by design.
                Victim::Supervisor => {}
            }
        }
        found
    }
}

impl Round {
    fn of(kill: &Kill, asked: &[Asked]) -> Self {
        let mut in_flight = BTreeMap::new();
        for one in asked.iter().filter(|one| one.end != End::Refused && is_under_way(one, kill.at, kill.dead)) {
            *in_flight.entry(one.what).or_default() += 1;
        }
        Self {
            victim: kill.victim,
            at_boundary: kill.at_boundary,
            dead_ms: millis(kill.dead.duration_since(kill.at)),
            back_ms: millis(kill.back.duration_since(kill.at)),
            in_flight,
            failed: BTreeMap::new(),
            refused: 0,
            answers_lost: 0,
        }
    }
}

/// The round that accounts for a failure. Only what was under way may break, and only where the socket is gone may
/// somebody be refused.
fn blamed(one: &Asked, kills: &[Kill]) -> Option<usize> {
    kills.iter().position(|kill| match (&one.end, kill.victim) {
        (End::Broken(_), Victim::Gateway | Victim::Supervisor) => is_under_way(one, kill.at, kill.dead),
        (End::Refused, Victim::Supervisor) => is_under_way(one, kill.at, kill.back),
        _ => false,
    })
}

fn is_under_way(one: &Asked, from: Instant, to: Instant) -> bool {
    one.began <= to && one.ended >= from
}

/// With where the nearest kill was.
fn told(one: &Asked, kills: &[Kill]) -> String {
    let before = kills.iter().rev().find(|kill| kill.at <= one.ended);
    let near = before.map_or_else(
        || "before the first kill".to_owned(),
        |kill| {
            let ended = millis(one.ended.duration_since(kill.at));
            let began = millis(one.began.saturating_duration_since(kill.at));
            format!("began {began:.1} ms and ended {ended:.1} ms after the {} was killed", kill.victim)
        },
    );
    let took = millis(one.ended.duration_since(one.began));
    format!("{:?} after {took:.1} ms: {:?}; {near}", one.what, one.end)
}

impl Outcome {
    pub(crate) fn unaccounted_shown(&self) -> impl Iterator<Item = &String> {
        self.unaccounted.iter().take(UNACCOUNTED_NAMED_MAX)
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
