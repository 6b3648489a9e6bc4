//! Which agents are started, proven and cut over together, and what becomes of their blues.
//!
//! All blues stay warm if that fits to the end. Where it does not, as few as possible are stopped after their
//! cutover: the largest first, critical ones last, because a stopped blue is what makes a way back slow.
//!
//! The way back fits by construction: undone in reverse order, green out and then blue in, the fleet passes
//! through the same mixtures of blue and green that the rollout passed through.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ledger, Need, Standby};
use crate::{
    id::{AgentName, PhaseName, Side},
    spec::AgentSpec,
};

/// Agents that go together, and the memory in use while they do.
pub(super) struct Packed<'s> {
    pub(super) agents: Vec<(&'s AgentSpec, Standby)>,
    pub(super) memory_peak_bytes: u64,
}

/// Why no batch could be made.
#[derive(Debug)]
pub(super) enum Stuck {
    /// The fleet does not fit even as it runs now.
    Blues { needed_bytes: u64 },
    /// There is no room for this agent's green beside its blue.
    Green { phase: PhaseName, agent: AgentName, wanted_bytes: u64, free_bytes: u64 },
}

pub(super) struct Packer<'s> {
    needs: &'s BTreeMap<AgentName, Need>,
    ledger: Ledger,
    batch_max: usize,
    /// Cut over and still warm.
    warm: Vec<&'s AgentSpec>,
    stopped: BTreeSet<&'s AgentName>,
}

/// The batches of every phase.
pub(super) fn pack<'s>(
    phases: &[(PhaseName, Vec<&'s AgentSpec>)],
    needs: &'s BTreeMap<AgentName, Need>,
    ceiling_bytes: u64,
    batch_max: u32,
) -> Result<Vec<Vec<Packed<'s>>>, Stuck> {
    let mut packer = Packer {
        needs,
        ledger: with_blues(needs, ceiling_bytes)?,
        batch_max: usize::try_from(batch_max).unwrap_or(usize::MAX).max(1),
        warm: Vec::new(),
        stopped: BTreeSet::new(),
    };
    let mut batches = Vec::new();
    for (name, agents) in phases {
        batches.push(packer.phase(name, agents)?);
    }
    let stopped = packer.stopped;
    replay(batches, needs, &stopped, ceiling_bytes)
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

impl<'s> Packer<'s> {
    fn phase(&mut self, phase: &PhaseName, agents: &[&'s AgentSpec]) -> Result<Vec<Vec<&'s AgentSpec>>, Stuck> {
        let mut batches = Vec::new();
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
                        free_bytes: self.ledger.free_bytes() + self.reclaimable_bytes(),
                    });
                }
            }
            let (batch, rest) = left.split_at(take);
            self.warm.extend(batch);
            batches.push(batch.to_vec());
            left = rest;
        }
        Ok(batches)
    }

    /// Reserves the greens, stopping retired blues where it must; changes nothing where even that is not enough.
    fn make_room(&mut self, batch: &[&'s AgentSpec]) -> bool {
        let wanted: u64 = batch.iter().map(|agent| self.green_bytes(agent)).sum();
        if wanted > self.ledger.free_bytes() + self.reclaimable_bytes() {
            return false;
        }
        while wanted > self.ledger.free_bytes() {
            let largest = |agent: &&&AgentSpec| (!agent.critical, self.needs[&agent.name].blue_bytes);
            // Among equals the one that was cut over first: its green has proven itself longest.
            let Some(agent) = self.warm.iter().rev().max_by_key(largest).copied() else { return false };
            self.warm.retain(|warm| warm.name != agent.name);
            self.stopped.insert(&agent.name);
            self.ledger.release(&agent.name, Side::Blue);
        }
        batch.iter().all(|agent| self.ledger.reserve(&agent.name, Side::Green, self.green_bytes(agent)).is_ok())
    }

    fn green_bytes(&self, agent: &AgentSpec) -> u64 {
        self.needs[&agent.name].green_bytes
    }

    fn reclaimable_bytes(&self) -> u64 {
        self.warm.iter().map(|agent| self.needs[&agent.name].blue_bytes).sum()
    }
}

/// Goes through the batches once more, now that it is known which blues are stopped: an agent that a later
/// batch needs gone is gone from its own cutover on.
fn replay<'s>(
    phases: Vec<Vec<Vec<&'s AgentSpec>>>,
    needs: &BTreeMap<AgentName, Need>,
    stopped: &BTreeSet<&AgentName>,
    ceiling_bytes: u64,
) -> Result<Vec<Vec<Packed<'s>>>, Stuck> {
    let mut ledger = with_blues(needs, ceiling_bytes)?;
    let mut packed = Vec::new();
    for batches in phases {
        let mut phase = Vec::new();
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
                    } else {
                        (agent, Standby::Warm)
                    }
                })
                .collect();
            phase.push(Packed { agents, memory_peak_bytes });
        }
        packed.push(phase);
    }
    Ok(packed)
}
