//! Which agents are started, proven and cut over together, and what becomes of their blues.
//!
//! All blues stay warm if that fits to the end. Where it does not, as few as possible are stopped after their
//! cutover: the largest first, critical ones last, because a stopped blue is what makes a way back slow. What the
//! fleet file declares is kept.
//!
//! The way back fits by construction: undone in reverse order, green out and then blue in, the fleet passes
//! through the same mixtures of blue and green that the rollout passed through.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ledger, Need, Standby, fit::Stuck};
use crate::{
    id::{AgentName, PhaseName, Side},
    spec::{AgentSpec, StandbyPolicy},
    time::Millis,
};

/// What changes in one phase: one group of agents, or two that move one after the other.
pub(super) struct Moves<'s> {
    pub(super) phase: PhaseName,
    pub(super) groups: Vec<Vec<&'s AgentSpec>>,
}

pub(super) struct PackedPhase<'s> {
    pub(super) batches: Vec<Packed<'s>>,
    pub(super) second_half: Option<usize>,
}

/// Agents that go together, and the memory in use while they do.
pub(super) struct Packed<'s> {
    pub(super) agents: Vec<(&'s AgentSpec, Standby)>,
    pub(super) memory_peak_bytes: u64,
    pub(super) undo: Millis,
}

pub(super) struct Packer<'s, 'p> {
    needs: &'p BTreeMap<AgentName, Need>,
    ledger: Ledger,
    batch_max: usize,
    policy: fn(&AgentSpec) -> StandbyPolicy,
    /// Cut over and still there, though they need not be.
    spare: Vec<&'s AgentSpec>,
    stopped: BTreeSet<&'s AgentName>,
}

/// The batches of every phase.
pub(super) fn pack<'s>(
    phases: &[Moves<'s>],
    needs: &BTreeMap<AgentName, Need>,
    ceiling_bytes: u64,
    batch_max: u32,
    policy: fn(&AgentSpec) -> StandbyPolicy,
) -> Result<Vec<PackedPhase<'s>>, Stuck> {
    let mut packer = Packer {
        needs,
        ledger: with_blues(needs, ceiling_bytes)?,
        batch_max: usize::try_from(batch_max).unwrap_or(usize::MAX).max(1),
        policy,
        spare: Vec::new(),
        stopped: BTreeSet::new(),
    };
    let mut packed = Vec::new();
    for Moves { phase, groups } in phases {
        let mut batches = Vec::new();
        let mut second_half = None;
        for (i, group) in groups.iter().enumerate() {
            if i > 0 {
                second_half = Some(batches.len());
            }
            packer.group(phase, group, &mut batches)?;
        }
        packed.push((batches, second_half));
    }
    let stopped = packer.stopped;
    replay(packed, needs, &stopped, policy, ceiling_bytes)
}

fn with_blues(needs: &BTreeMap<AgentName, Need>, ceiling_bytes: u64) -> Result<Ledger, Stuck> {
    let mut ledger = Ledger::new(ceiling_bytes);
    for (agent, need) in needs {
        if ledger.reserve(agent, Side::Blue, need.blue_bytes).is_err() {
            return Err(Stuck::Blues { needed_bytes: needs.values().map(|need| need.blue_bytes).sum() });
        }
    }
    Ok(ledger)
}

impl<'s> Packer<'s, '_> {
    fn group(
        &mut self,
        phase: &PhaseName,
        agents: &[&'s AgentSpec],
        batches: &mut Vec<Vec<&'s AgentSpec>>,
    ) -> Result<(), Stuck> {
        let mut left = agents;
        while let Some(first) = left.first() {
            // A critical agent never shares a batch with one that is not.
            let band = left.iter().take_while(|agent| agent.critical == first.critical).count();
            let mut take = band.min(self.batch_max);
            while !self.make_room(&left[..take]) {
                take /= 2;
                if take == 0 {
                    return Err(Stuck::Green {
                        phase: phase.clone(),
                        agent: first.name.clone(),
                        wanted_bytes: self.green_bytes(first),
                        free_bytes: self.ledger.free_bytes() + self.spare_bytes(),
                    });
                }
            }
            let (batch, rest) = left.split_at(take);
            for &agent in batch {
                match (self.policy)(agent) {
                    StandbyPolicy::Auto => self.spare.push(agent),
                    StandbyPolicy::Stopped => self.stop(agent),
                    StandbyPolicy::Warm | StandbyPolicy::Frozen => {}
                }
            }
            batches.push(batch.to_vec());
            left = rest;
        }
        Ok(())
    }

    /// Reserves the greens, stopping retired blues where it must; changes nothing where even that is not enough.
    fn make_room(&mut self, batch: &[&'s AgentSpec]) -> bool {
        let wanted: u64 = batch.iter().map(|agent| self.green_bytes(agent)).sum();
        if wanted > self.ledger.free_bytes() + self.spare_bytes() {
            return false;
        }
        while wanted > self.ledger.free_bytes() {
            let largest = |agent: &&&AgentSpec| (!agent.critical, self.needs[&agent.name].blue_bytes);
            // Among equals the one that was cut over first: its green has proven itself longest.
            let Some(agent) = self.spare.iter().rev().max_by_key(largest).copied() else { return false };
            self.spare.retain(|spare| spare.name != agent.name);
            self.stop(agent);
        }
        batch.iter().all(|agent| self.ledger.reserve(&agent.name, Side::Green, self.green_bytes(agent)).is_ok())
    }

    fn stop(&mut self, agent: &'s AgentSpec) {
        self.stopped.insert(&agent.name);
        self.ledger.release(&agent.name, Side::Blue);
    }

    fn green_bytes(&self, agent: &AgentSpec) -> u64 {
        self.needs[&agent.name].green_bytes
    }

    fn spare_bytes(&self) -> u64 {
        self.spare.iter().map(|agent| self.needs[&agent.name].blue_bytes).sum()
    }
}

/// Goes through the batches once more, now that it is known which blues are stopped: an agent that a later
/// batch needs gone is gone from its own cutover on.
fn replay<'s>(
    phases: Vec<(Vec<Vec<&'s AgentSpec>>, Option<usize>)>,
    needs: &BTreeMap<AgentName, Need>,
    stopped: &BTreeSet<&AgentName>,
    policy: fn(&AgentSpec) -> StandbyPolicy,
    ceiling_bytes: u64,
) -> Result<Vec<PackedPhase<'s>>, Stuck> {
    let mut ledger = with_blues(needs, ceiling_bytes)?;
    let mut packed = Vec::new();
    for (batches, second_half) in phases {
        let mut phase = PackedPhase { batches: Vec::new(), second_half };
        for batch in batches {
            for agent in &batch {
                let fits = ledger.reserve(&agent.name, Side::Green, needs[&agent.name].green_bytes);
                debug_assert!(fits.is_ok(), "blues only leave earlier than when the batch was packed");
            }
            let memory_peak_bytes = ledger.used_bytes();
            let agents = batch
                .into_iter()
                .map(|agent| {
                    if stopped.contains(&agent.name) {
                        ledger.release(&agent.name, Side::Blue);
                        (agent, Standby::Stopped)
                    } else if policy(agent) == StandbyPolicy::Frozen {
                        (agent, Standby::Frozen)
                    } else {
                        (agent, Standby::Warm)
                    }
                })
                .collect();
            phase.batches.push(Packed { agents, memory_peak_bytes, undo: Millis::ZERO });
        }
        packed.push(phase);
    }
    Ok(packed)
}
