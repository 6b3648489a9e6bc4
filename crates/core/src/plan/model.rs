//! The plan as a value: what changes, in which order, within which memory, judged how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentName, PhaseName, RevisionId, RevisionName},
    spec::{Criteria, GatePolicy, Revision, Triggers},
    time::Millis,
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
    /// Every revision that the plan names.
    pub revisions: BTreeMap<RevisionId, Revision>,
    pub budget: Budget,
}

impl Plan {
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
}

/// Agents that are started, proven and cut over together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub agents: Vec<PlannedAgent>,
    /// The most memory that the fleet is expected to use while this batch is under way.
    pub memory_peak_bytes: u64,
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

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The smaller of declared and present memory, less the reserve.
    pub capacity_bytes: u64,
    /// The plan stays below this, so that it cannot fire the memory trigger (R40).
    pub ceiling_bytes: u64,
    pub peak_bytes: u64,
    /// What the peaks rest on, for every agent of the fleet.
    pub needs: BTreeMap<AgentName, Need>,
}

/// The memory that one agent is given room for, headroom included, its declared limit being the cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    pub blue_bytes: u64,
    pub green_bytes: u64,
    /// Measured on this machine; otherwise assumed, and the plan says so.
    pub blue_measured: bool,
    pub green_measured: bool,
}
