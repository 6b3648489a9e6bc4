//! The order of outcomes, per agent and serving side: which failures begin a burst, and how long a burst is.
//!
//! Errors cluster, so only an outcome that follows a good one is a trial, and a failure among trials is an onset.
//! Kept for agents whose last outcome was bad and for no others, so it never grows beyond the fleet.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentName, Side},
    observation::Signs,
};

use super::{change::LeaseEnd, task::Report};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Good,
    Bad,
}

impl Report {
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Completed { empty: false } => Outcome::Good,
            Self::Completed { empty: true } | Self::Failed => Outcome::Bad,
        }
    }
}

impl LeaseEnd {
    /// `None`: what a rollout or the submitter took away, what came back because its holder was asked to stop, and what
    /// never reached it is nobody's failure.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Expired | Self::HolderGone | Self::AskedAgain => Some(Outcome::Bad),
            Self::Revoked | Self::Returned | Self::Undelivered | Self::Cancelled => None,
        }
    }
}

/// Failures in a row.
#[derive(Clone, Debug, Default)]
pub struct Streaks {
    failures: HashMap<(AgentName, Side), u64>,
}

impl Streaks {
    /// Counts an outcome into `signs`. An agent of which nothing is known begins as one whose last outcome was good.
    pub fn count(&mut self, agent: &AgentName, served: Side, outcome: Outcome, signs: &mut Signs) {
        let before = match outcome {
            // The common case: nobody failed last.
            Outcome::Good if self.failures.is_empty() => 0,
            Outcome::Good => self.failures.remove(&(agent.clone(), served)).unwrap_or_default(),
            Outcome::Bad => {
                let failures = self.failures.entry((agent.clone(), served)).or_default();
                *failures += 1;
                *failures - 1
            }
        };
        if before == 0 {
            signs.trials += 1;
            signs.onsets += u64::from(outcome == Outcome::Bad);
        }
    }

    pub fn failures(&self, agent: &AgentName, served: Side) -> u64 {
        if self.failures.is_empty() {
            return 0;
        }
        self.failures.get(&(agent.clone(), served)).copied().unwrap_or_default()
    }

    /// Everything that is remembered, for another process.
    pub fn all(&self) -> impl Iterator<Item = (&AgentName, Side, u64)> {
        self.failures.iter().map(|((agent, side), &failures)| (agent, *side, failures))
    }

    /// What another process remembered.
    pub fn recall(&mut self, agent: AgentName, served: Side, failures: u64) {
        self.failures.insert((agent, served), failures);
    }

    /// What was green counts as blue from here on, and so does its past.
    pub fn settle(&mut self, agent: &AgentName) {
        self.failures.remove(&(agent.clone(), Side::Blue));
        if let Some(failures) = self.failures.remove(&(agent.clone(), Side::Green)) {
            self.failures.insert((agent.clone(), Side::Blue), failures);
        }
    }

    /// Whoever serves this side next has no past.
    pub fn forget(&mut self, agent: &AgentName, served: Side) {
        self.failures.remove(&(agent.clone(), served));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: Outcome = Outcome::Good;
    const BAD: Outcome = Outcome::Bad;

    fn counted(streaks: &mut Streaks, side: Side, outcomes: &[Outcome]) -> (u64, u64, u64) {
        let (agent, mut signs) = ("a".into(), Signs::default());
        outcomes.iter().for_each(|&outcome| streaks.count(&agent, side, outcome, &mut signs));
        (signs.trials, signs.onsets, streaks.failures(&agent, side))
    }

    #[test]
    fn a_burst_is_one_onset_and_its_end_is_no_trial() {
        let mut streaks = Streaks::default();
        assert_eq!(counted(&mut streaks, Side::Green, &[GOOD, BAD, BAD, BAD]), (2, 1, 3));
        assert_eq!(counted(&mut streaks, Side::Green, &[BAD, GOOD]), (0, 0, 0), "over the end of a second");
        assert_eq!(counted(&mut streaks, Side::Green, &[GOOD, BAD]), (2, 1, 1));
    }

    #[test]
    fn the_first_outcome_ever_is_a_trial() {
        assert_eq!(counted(&mut Streaks::default(), Side::Blue, &[BAD]), (1, 1, 1));
    }

    #[test]
    fn sides_and_agents_do_not_follow_one_another() {
        let mut streaks = Streaks::default();
        counted(&mut streaks, Side::Green, &[BAD, BAD]);
        assert_eq!(counted(&mut streaks, Side::Blue, &[BAD]), (1, 1, 1));
        assert_eq!(streaks.failures(&"b".into(), Side::Green), 0);
    }

    #[test]
    fn what_one_process_remembers_another_one_goes_on_with() {
        let (mut elder, mut heir) = (Streaks::default(), Streaks::default());
        counted(&mut elder, Side::Green, &[BAD, BAD]);
        let told: Vec<_> = elder.all().map(|(agent, side, failures)| (agent.clone(), side, failures)).collect();
        told.into_iter().for_each(|(agent, side, failures)| heir.recall(agent, side, failures));
        assert_eq!(counted(&mut heir, Side::Green, &[BAD]), (0, 0, 3), "the burst goes on");
    }

    #[test]
    fn a_settled_green_takes_its_past_along_and_a_fresh_one_has_none() {
        let mut streaks = Streaks::default();
        counted(&mut streaks, Side::Green, &[BAD, BAD]);
        counted(&mut streaks, Side::Blue, &[BAD]);
        streaks.settle(&"a".into());
        assert_eq!((streaks.failures(&"a".into(), Side::Blue), streaks.failures(&"a".into(), Side::Green)), (2, 0));
        streaks.settle(&"a".into());
        assert_eq!(streaks.failures(&"a".into(), Side::Blue), 0, "the next green was good");
        counted(&mut streaks, Side::Green, &[BAD]);
        streaks.forget(&"a".into(), Side::Green);
        assert_eq!(counted(&mut streaks, Side::Green, &[BAD]), (1, 1, 1));
    }

    #[test]
    fn what_nobody_is_to_blame_for_is_no_outcome() {
        let outcomes =
            [LeaseEnd::Expired, LeaseEnd::HolderGone, LeaseEnd::AskedAgain, LeaseEnd::Revoked, LeaseEnd::Returned]
                .map(LeaseEnd::outcome);
        assert_eq!(outcomes, [Some(BAD), Some(BAD), Some(BAD), None, None]);
    }

    proptest! {
        #[test]
        fn trials_are_the_outcomes_after_good_ones(outcomes in prop::collection::vec(prop::bool::ANY, 0..200)) {
            let outcomes: Vec<Outcome> = outcomes.into_iter().map(|good| if good { GOOD } else { BAD }).collect();
            let after_good = |i: &usize| *i == 0 || outcomes[i - 1] == GOOD;
            let trials = (0..outcomes.len()).filter(after_good).count() as u64;
            let onsets = (0..outcomes.len()).filter(after_good).filter(|&i| outcomes[i] == BAD).count() as u64;
            let streak = outcomes.iter().rev().take_while(|&&outcome| outcome == BAD).count() as u64;
            prop_assert_eq!(counted(&mut Streaks::default(), Side::Blue, &outcomes), (trials, onsets, streak));
        }
    }
}
