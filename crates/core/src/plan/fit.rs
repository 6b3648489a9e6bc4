//! Fits a rollout and its way back into a machine, or finds what stands in the way.

use super::{
    Budget, Margin, Measured,
    batches::{self, Moves, PackedPhase},
    cpu, needs, undo,
};
use crate::{
    id::{AgentName, PhaseName},
    spec::{AgentSpec, Spec, StandbyPolicy},
    time::Millis,
};

/// The plan stays this far below the memory trigger (R40), so that an accepted plan does not fire it.
const BELOW_TRIGGER: f64 = 0.01;
/// Where the trigger is switched off.
const TRIGGER: f64 = 0.9;

/// What has to be fitted.
pub(super) struct Problem<'s> {
    pub(super) spec: &'s Spec,
    pub(super) measured: &'s Measured,
    pub(super) moves: Vec<Moves<'s>>,
}

/// Under which conditions. Refusals vary them to find out what would help.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) capacity_bytes: u64,
    pub(super) undo_max: Millis,
    /// What the file says, or nothing declared at all.
    pub(super) policy: fn(&AgentSpec) -> StandbyPolicy,
}

pub(super) struct Fitted<'s> {
    pub(super) phases: Vec<PackedPhase<'s>>,
    pub(super) budget: Budget,
}

/// Why there is no plan.
#[derive(Clone, Debug)]
pub(super) enum Stuck {
    /// The fleet does not fit even as it runs now.
    Blues { needed_bytes: u64 },
    /// There is no room for this agent's green beside its blue.
    Green { phase: PhaseName, agent: AgentName, wanted_bytes: u64, free_bytes: u64 },
    /// Blues that have to stay warm idle too much.
    Cpu { cpus: u32, ceiling_cores: f64, working_cores: f64, idle_cores: f64, warm: Vec<AgentName> },
    /// The way back takes too long from this batch on.
    Undo {
        phase: PhaseName,
        batch: usize,
        /// Of all steps.
        longest: Millis,
        undo_max: Millis,
        stopped: Vec<AgentName>,
        frozen: usize,
        at_once: usize,
        boot_longest: Millis,
        boots_assumed: usize,
    },
}

impl<'s> Problem<'s> {
    pub(super) fn terms(&self, capacity_bytes: u64) -> Terms {
        Terms { capacity_bytes, undo_max: self.spec.rollout.undo_max, policy: declared }
    }

    /// With ample headroom if that fits, else closely. What is said to be in the way is what is in the way closely.
    pub(super) fn fit(&self, terms: Terms) -> Result<Fitted<'s>, Stuck> {
        self.fit_with(Margin::Ample, terms).or_else(|_| self.fit_with(Margin::Close, terms))
    }

    fn fit_with(&self, margin: Margin, terms: Terms) -> Result<Fitted<'s>, Stuck> {
        let Terms { capacity_bytes, undo_max, policy } = terms;
        let needs = needs::of_fleet(self.spec, self.measured, margin);
        let boots_max = self.spec.rollout.batch_max;
        let ceiling_bytes = part(capacity_bytes, self.ceiling());
        let mut phases = batches::pack(&self.moves, &needs, ceiling_bytes, boots_max, policy)?;
        let cpu = cpu::freeze(&mut phases, self.spec, self.measured, policy)?;
        let names: Vec<PhaseName> = self.moves.iter().map(|moves| moves.phase.clone()).collect();
        undo::time(&mut phases, &names, &needs, boots_max, undo_max)?;
        let peaks = phases.iter().flat_map(|phase| &phase.batches).map(|batch| batch.memory_peak_bytes);
        let peak_bytes = peaks.max().unwrap_or(0);
        let budget = Budget { capacity_bytes, ceiling_bytes, peak_bytes, margin, needs, boots_max, cpu };
        Ok(Fitted { phases, budget })
    }

    /// The share of what the fleet may use that a plan uses at most.
    pub(super) fn ceiling(&self) -> f64 {
        self.spec.rollout.triggers.memory.unwrap_or(TRIGGER) - BELOW_TRIGGER
    }

    /// The least capacity with which everything fits, if any does. Other terms stay as they are.
    pub(super) fn capacity_that_fits(&self, terms: Terms) -> Option<u64> {
        let fits = |capacity_bytes: u64| self.fit(Terms { capacity_bytes, ..terms }).is_ok();
        let needs = needs::of_fleet(self.spec, self.measured, Margin::Ample);
        let both: u64 = needs.values().map(|need| need.blue_bytes.saturating_add(need.green_bytes)).sum();
        // Room for both sides of everything: more memory than that changes nothing.
        let mut enough = terms.capacity_bytes.max(whole(both, self.ceiling()));
        if !fits(enough) {
            return None;
        }
        const STEP: u64 = 1 << 20;
        let mut short = terms.capacity_bytes;
        while enough - short > STEP {
            let middle = short + (enough - short) / 2;
            if fits(middle) {
                enough = middle;
            } else {
                short = middle;
            }
        }
        Some(enough)
    }
}

/// What the file says of an agent's standby.
fn declared(agent: &AgentSpec) -> StandbyPolicy {
    agent.standby
}

/// As if nothing were declared.
pub(super) fn free(_: &AgentSpec) -> StandbyPolicy {
    StandbyPolicy::Auto
}

fn part(whole: u64, share: f64) -> u64 {
    scaled(whole, share).floor() as u64
}

fn whole(part: u64, share: f64) -> u64 {
    // Beyond the rounding of the way back.
    scaled(part, 1.0 / share).ceil() as u64 + 1024
}

#[expect(clippy::cast_precision_loss, reason = "sizes of memory fit 53 bits")]
fn scaled(bytes: u64, factor: f64) -> f64 {
    bytes as f64 * factor
}
