//! The plan as a value: what changes, in which order, within which memory, judged how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Freeze, FreezeOverride, Timetable};
use crate::{
    id::{AgentName, PhaseName, RevisionId, RevisionName},
    spec::{Approval, AtEnd, Criteria, Delivery, GatePolicy, Readiness, Release, Revision, Triggers},
    time::Millis,
    watch::Reach,
};

/// Immutable once made. `speed` has already been applied to bakes and `validation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub fleet: String,
    pub release: RevisionName,
    /// Bakes and validation are divided by this; no other timer is.
    pub speed: f64,
    pub baseline: Millis,
    pub phases: Vec<PlannedPhase>,
    pub validation: Millis,
    pub rollback_window: Millis,
    pub extension: f64,
    pub crash_loop: u32,
    pub criteria: Criteria,
    pub triggers: Triggers,
    /// Only the first batch moves, and is taken back at once: the rollback is rehearsed.
    #[serde(default)]
    pub drill: bool,
    /// Windows in which it may not go further, as far ahead as it can be under way.
    #[serde(default)]
    pub freezes: Vec<Freeze>,
    /// They are known, and do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_override: Option<FreezeOverride>,
    /// From its start, within which all agents have to be on green and validated (R20).
    #[serde(default)]
    pub window: Option<Millis>,
    /// What happens if they are not.
    #[serde(default)]
    pub at_end: AtEnd,
    /// Every revision that the plan names.
    pub revisions: BTreeMap<RevisionId, Revision>,
    pub budget: Budget,
    #[serde(default)]
    pub outlook: Outlook,
    /// What it was made from, so that it can be made anew. None in a plan of a version that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_from: Option<MadeFrom>,
}

/// What was asked for, beside what the plan itself says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MadeFrom {
    pub release: Release,
    /// Where another length of the baseline was asked for than the fleet file's.
    #[serde(default)]
    pub baseline: Option<Millis>,
}

impl Plan {
    /// How tasks will reach the agent's green.
    pub fn delivery(&self, planned: &PlannedAgent) -> Delivery {
        self.revisions.get(&planned.to).map(|revision| revision.delivery).unwrap_or_default()
    }

    /// Agents of a batch whose greens answer a synthetic task.
    pub fn tried_out<'p>(&'p self, batch: &'p Batch) -> impl Iterator<Item = &'p PlannedAgent> {
        batch.agents.iter().filter(|planned| planned.trial(self.delivery(planned)).is_some())
    }

    pub fn agents(&self) -> impl Iterator<Item = &PlannedAgent> {
        self.phases.iter().flat_map(|phase| phase.batches.iter().flat_map(|batch| &batch.agents))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedPhase {
    pub name: PhaseName,
    pub batches: Vec<Batch>,
    /// The batch with which the second of two random halves begins. It moves when half of the bake is over, so
    /// that the first half has a blue beside it to be compared with (ANALYSIS §3.2).
    #[serde(default)]
    pub second_half: Option<usize>,
    pub bake: Millis,
    pub gate: GatePolicy,
    /// Agents on green when this phase is done.
    pub agents_cumulative: usize,
    #[serde(default)]
    pub approval: Approval,
}

/// Agents that are started, proven and cut over together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub agents: Vec<PlannedAgent>,
    /// The most memory that the fleet is expected to use while this batch is under way.
    pub memory_peak_bytes: u64,
    /// From here on, how long it takes until everything that has moved so far has its traffic on blue again (R47).
    #[serde(default)]
    pub undo: Millis,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedAgent {
    pub agent: AgentName,
    pub from: RevisionId,
    pub to: RevisionId,
    /// What becomes of blue after the cutover.
    pub standby: Standby,
    pub drain: Millis,
    pub boot: Millis,
    /// What green must show before it gets traffic.
    #[serde(default = "unproven")]
    pub ready: Readiness,
}

impl PlannedAgent {
    /// The synthetic task that green has to answer, and the time that it has for it. None where nothing is asked for,
    /// or where there is no way to give it a task.
    pub fn trial(&self, delivery: Delivery) -> Option<(&BTreeMap<String, String>, Millis)> {
        match (&self.ready, delivery) {
            (Readiness::Task { fields, within }, Delivery::Pull | Delivery::Push { .. }) => Some((fields, *within)),
            (Readiness::Task { .. }, Delivery::None) | (Readiness::Poll, _) => None,
        }
    }
}

/// Of a plan that was made before there was anything to be asked.
fn unproven() -> Readiness {
    Readiness::Poll
}

/// What a retired blue costs while it is held for a rollback, and how fast it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standby {
    Warm,
    /// No CPU, full memory.
    Frozen,
    Stopped,
}

/// What the plan rests on: who needs how much of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The smaller of declared and present memory, less the reserve.
    pub capacity_bytes: u64,
    /// The plan stays below this, so that it cannot fire the memory trigger (R40).
    pub ceiling_bytes: u64,
    pub peak_bytes: u64,
    #[serde(default)]
    pub margin: Margin,
    /// What the peaks rest on, for every agent of the fleet.
    pub needs: BTreeMap<AgentName, Need>,
    /// So many instances boot at once, on the way back as well.
    #[serde(default)]
    pub boots_max: u32,
    /// Where the CPU that agents use was measured.
    #[serde(default)]
    pub cpu: Option<CpuBudget>,
}

/// How needs are made of measured peaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Margin {
    /// A tenth more than each peak, and for an unmeasured green what the memory criterion would let pass.
    #[default]
    Ample,
    /// Hardly more than each peak, and for an unmeasured green what its blue needs: where nothing else fits.
    Close,
}

/// What one agent is given room and time for. Memory has its headroom in it, its declared limit being the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    pub blue_bytes: u64,
    pub green_bytes: u64,
    /// Measured on this machine; otherwise assumed, and the plan says so.
    pub blue_measured: bool,
    pub green_measured: bool,
    /// How long an instance is expected to take until it is ready.
    #[serde(default)]
    pub boot: Millis,
    #[serde(default)]
    pub boot_measured: bool,
}

/// CPU when everything is on green, in cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuBudget {
    pub cpus: u32,
    /// No blue stays warm for whose idling the sum would pass this.
    pub ceiling_cores: f64,
    /// Used by the agents that work, as measured before anything was touched.
    pub working_cores: f64,
    /// Used on top by blues that stay warm.
    pub idle_cores: f64,
}

/// What is to be expected of a rollout, computed before it starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// R47, or what the fleet file allows instead.
    pub undo_max: Millis,
    /// The longest of all steps.
    pub undo_longest: Millis,
    /// Stopped blues whose time to boot is assumed rather than measured.
    pub undo_assumed: usize,
    pub schedule: Schedule,
    #[serde(default)]
    pub try_outs: TryOuts,
    /// Greens that show nothing of themselves, and count as ready when they have run for their boot.
    #[serde(default)]
    pub mute: Vec<AgentName>,
    /// Where agents take work that does not pass through the gateway, so that it cannot be fenced.
    pub unfenced: Option<String>,
    /// Per phase; without measured traffic only the faults that need none to be seen.
    #[serde(default)]
    pub detection: Vec<Detection>,
    /// None where no calendar was at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timetable: Option<Timetable>,
}

/// Greens that answer a synthetic task before they get traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryOuts {
    pub greens: usize,
    /// The longest that any of them is given.
    pub within: Millis,
    /// What one is expected to take, as other tasks did; none where none was measured.
    pub task: Option<Millis>,
    /// So many model calls are answered at once.
    pub slots: u32,
}

impl TryOuts {
    /// How long it takes until all greens of a batch have answered, if so many of them have to.
    pub fn of_batch(&self, greens: usize) -> Option<Millis> {
        let rounds = greens.div_ceil(self.slots.max(1) as usize) as u64;
        Some(Millis(rounds.saturating_mul(self.task?.0)))
    }
}

/// How soon a faulty green would be seen while a phase bakes (R46).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub phase: PhaseName,
    pub faults: Vec<Reach>,
}

/// How long a rollout takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Baseline, bakes and validation.
    pub planned: Millis,
    /// The buffer that extended bakes may use.
    pub buffer: Millis,
    /// For starting greens, trying them out where that can be told, and moving traffic, estimated.
    pub moving: Millis,
    /// The longest that has to be waited for what blues hold, where they have to be gone before the next batch.
    pub draining: Millis,
}

impl Schedule {
    /// With no bake extended.
    pub fn expected(&self) -> Millis {
        self.planned + self.moving
    }

    /// With every bake extended as far as the policy allows, and every drain up to its limit.
    pub fn at_most(&self) -> Millis {
        self.planned + self.buffer + self.moving + self.draining
    }
}
