//! How much memory each agent is given room for: measured peaks with headroom, or what is assumed instead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Need;
use crate::{
    id::AgentName,
    spec::{AgentSpec, Criteria, Spec},
};

/// What an instance is taken to need as long as nobody has measured it.
pub const ASSUMED_BYTES: u64 = 32 << 20;

/// What the machine has shown so far. All of it may be missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What the machine has, limits of a container included.
    pub present_memory_bytes: Option<u64>,
    /// The highest proportional set size of each agent's blue.
    pub blue_peak_bytes: BTreeMap<AgentName, u64>,
    /// The same of its green under this release, from an earlier attempt or drill.
    pub green_peak_bytes: BTreeMap<AgentName, u64>,
}

pub(super) fn of_fleet(spec: &Spec, measured: &Measured) -> BTreeMap<AgentName, Need> {
    spec.agents.iter().map(|agent| (agent.name.clone(), need(agent, &spec.rollout.criteria, measured))).collect()
}

/// A green that nobody has measured may need what the memory criterion (R33) would still let pass.
fn need(agent: &AgentSpec, criteria: &Criteria, measured: &Measured) -> Need {
    let blue = measured.blue_peak_bytes.get(&agent.name).copied();
    let green = measured.green_peak_bytes.get(&agent.name).copied();
    let blue_bytes = blue.map_or(ASSUMED_BYTES, with_headroom);
    let green_bytes = match green {
        Some(peak) => with_headroom(peak),
        None => scaled(blue.unwrap_or(ASSUMED_BYTES), criteria.memory_max.max(1.0)).max(blue_bytes).max(ASSUMED_BYTES),
    };
    let capped = |bytes: u64| agent.memory_limit_bytes.map_or(bytes, |limit| bytes.min(limit));
    Need {
        blue_bytes: capped(blue_bytes),
        green_bytes: capped(green_bytes),
        blue_measured: blue.is_some(),
        green_measured: green.is_some(),
    }
}

/// A tenth more than the highest that was seen, because the next peak may be a little higher.
fn with_headroom(peak: u64) -> u64 {
    peak.saturating_add(peak / 10)
}

fn scaled(bytes: u64, factor: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "sizes of memory, and a cast that saturates"
    )]
    let scaled = (bytes as f64 * factor).ceil() as u64;
    scaled
}
