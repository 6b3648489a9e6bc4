//! Every place at which somebody can die: one run numbers them, and then each number is played again for each party
//! that can die there. A second death, while the first is being recovered from, is drawn by seed.

use bellwether_core::time::Millis;

use crate::{
    chance::Chance,
    fleet::Unplannable,
    run::{Job, Simulator},
    scenario::Scenario,
    world::deaths::{Death, Party, Spot},
};

/// Which deaths of one play are tried.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    pub play: &'static Scenario,
    pub agents: usize,
    pub seed: u64,
    /// Only so many, drawn by the seed. None: all of them.
    pub sample: Option<usize>,
    /// So many more with a second death after the first.
    pub twice: usize,
}

/// What is to be tried, and out of how much it was taken.
#[derive(Clone, Debug)]
pub struct Trials {
    pub spots: usize,
    /// Pairs of a place and a party that can die there.
    pub possible: usize,
    pub jobs: Vec<Job>,
}

/// A second death comes within so many places of the first: that is as long as a recovery takes.
const RECOVERY: u64 = 160;

impl Campaign {
    /// The jobs, in the order of the places. An `Err` inside is a play that fails even when nobody dies.
    pub fn trials(&self, simulator: &Simulator) -> Result<Result<Trials, crate::Violation>, Unplannable> {
        let spots = match simulator.spots(&self.job(Vec::new()))? {
            Ok(spots) => spots,
            Err(violation) => return Ok(Err(violation)),
        };
        let mut all = deaths_at(&spots);
        let possible = all.len();
        let mut chance = Chance::new(self.seed ^ 0x0dea_d000_0bee);
        let twice: Vec<Vec<Death>> = (0..self.twice).filter_map(|_| self.two(&all, &mut chance)).collect();
        if let Some(sample) = self.sample.filter(|&sample| sample < all.len()) {
            let mut drawn: Vec<Death> = (0..sample).map(|_| all.swap_remove(chance.below(all.len()))).collect();
            drawn.sort_by_key(|death| (death.at, death.party));
            all = drawn;
        }
        let once = all.into_iter().map(|death| vec![death]);
        let jobs = once.chain(twice).map(|deaths| self.job(deaths)).collect();
        Ok(Ok(Trials { spots: spots.len(), possible, jobs }))
    }

    fn two(&self, all: &[Death], chance: &mut Chance) -> Option<Vec<Death>> {
        let first = *all.get(chance.below(all.len()))?;
        // Where a tail may be lost is known of the run without deaths only.
        let parties: Vec<Party> = Party::ALL.into_iter().filter(|p| *p != Party::ControllerAndTail).collect();
        let at = first.at + chance.between(Millis(1), Millis(RECOVERY)).0;
        Some(vec![first, Death { at, party: parties[chance.below(parties.len())] }])
    }

    fn job(&self, deaths: Vec<Death>) -> Job {
        Job { scenario: self.play, seed: self.seed, agents: self.agents, deaths }
    }
}

fn deaths_at(spots: &[Spot]) -> Vec<Death> {
    let numbered = (1..).zip(spots);
    let deaths = numbered.flat_map(|(at, &spot)| {
        let parties = Party::ALL.into_iter().filter(move |party| party.can_die_at(spot));
        parties.map(move |party| Death { at, party })
    });
    deaths.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_tried_for_each_party_that_can_die_there() {
        let deaths = deaths_at(&[Spot::Heard, Spot::Journaled]);
        let at = |at| deaths.iter().filter(move |death| death.at == at).map(|death| death.party);
        assert_eq!(at(1).count(), 6);
        assert_eq!(at(2).collect::<Vec<_>>(), Party::ALL);
    }

    #[test]
    fn a_sample_is_drawn_by_seed_and_has_two_deaths_where_asked() {
        let simulator = Simulator::default();
        let play = Scenario::play("healthy").unwrap();
        let campaign = Campaign { play, agents: 4, seed: 5, sample: Some(7), twice: 3 };
        let trials = || campaign.trials(&simulator).unwrap().unwrap();
        let (one, other) = (trials(), trials());
        assert!(one.possible > one.spots * 5, "{} of {}", one.possible, one.spots);
        assert_eq!(one.jobs.iter().map(|job| job.deaths.len()).collect::<Vec<_>>(), [1, 1, 1, 1, 1, 1, 1, 2, 2, 2]);
        let deaths = |trials: &Trials| trials.jobs.iter().map(|job| job.deaths.clone()).collect::<Vec<_>>();
        assert_eq!(deaths(&one), deaths(&other));
    }
}
