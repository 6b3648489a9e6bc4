//! How much memory and time each agent is given: measured peaks with headroom, or what is assumed instead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Margin, Need};
use crate::{
    id::AgentName,
    spec::{AgentSpec, Criteria, Spec},
    time::Millis,
};

/// What an instance is taken to need as long as nobody has measured it.
pub const ASSUMED_BYTES: u64 = 32 << 20;

/// The least headroom that a close plan leaves: peaks are sampled, and the highest moment may fall between samples.
const CLOSE_BYTES: u64 = 1 << 20;

/// A declared `boot` is a limit that is meant never to be reached. Until one was measured, this part of it is taken
/// for the time that a boot takes.
const ASSUMED_BOOT_PART: u64 = 3;

/// What the machine has shown so far. All of it may be missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// What the machine has, limits of a container included.
    pub present_memory_bytes: Option<u64>,
    /// The highest proportional set size of each agent's blue.
    pub blue_peak_bytes: BTreeMap<AgentName, u64>,
    /// The same of its green under this release, from an earlier attempt or drill.
    pub green_peak_bytes: BTreeMap<AgentName, u64>,
    /// From the start of an instance to its readiness, the longest of each agent that was seen.
    pub boot_ms: BTreeMap<AgentName, u64>,
    pub cpus: Option<u32>,
    /// What each agent's blue uses while it serves, on average.
    pub blue_cpu_cores: BTreeMap<AgentName, f64>,
    /// What it uses while nothing is asked of it, as a warm blue would.
    pub blue_idle_cores: BTreeMap<AgentName, f64>,
    pub traffic: Option<Traffic>,
}

/// What the fleet is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Tasks and pushed requests that end, of the whole fleet.
    pub tasks_per_second: f64,
    /// The median from lease to completion.
    pub task_seconds: f64,
    /// The longest that was seen.
    #[serde(default)]
    pub task_seconds_max: f64,
    /// The share that fails while nothing is wrong.
    pub base_error_rate: f64,
}

pub(super) fn of_fleet(spec: &Spec, measured: &Measured, margin: Margin) -> BTreeMap<AgentName, Need> {
    let need = |agent: &AgentSpec| need(agent, &spec.rollout.criteria, measured, margin);
    spec.agents.iter().map(|agent| (agent.name.clone(), need(agent))).collect()
}

fn need(agent: &AgentSpec, criteria: &Criteria, measured: &Measured, margin: Margin) -> Need {
    let blue = measured.blue_peak_bytes.get(&agent.name).copied();
    let green = measured.green_peak_bytes.get(&agent.name).copied();
    let blue_bytes = blue.map_or(ASSUMED_BYTES, |peak| with_headroom(peak, margin));
    let green_bytes = match (green, margin) {
        (Some(peak), _) => with_headroom(peak, margin),
        // What the memory criterion (R33) would still let pass.
        (None, Margin::Ample) => {
            scaled(blue.unwrap_or(ASSUMED_BYTES), criteria.memory_max.max(1.0)).max(blue_bytes).max(ASSUMED_BYTES)
        }
        (None, Margin::Close) => blue_bytes,
    };
    let capped = |bytes: u64| agent.memory_limit_bytes.map_or(bytes, |limit| bytes.min(limit));
    let boot = measured.boot_ms.get(&agent.name).copied();
    Need {
        blue_bytes: capped(blue_bytes),
        green_bytes: capped(green_bytes),
        blue_measured: blue.is_some(),
        green_measured: green.is_some(),
        boot: boot.map_or(Millis(agent.revision.boot.0.div_ceil(ASSUMED_BOOT_PART)), Millis),
        boot_measured: boot.is_some(),
    }
}

/// The next peak may be a little higher than the highest that was seen.
fn with_headroom(peak: u64, margin: Margin) -> u64 {
    let tenth = peak / 10;
    peak.saturating_add(match margin {
        Margin::Ample => tenth,
        Margin::Close => tenth.min(CLOSE_BYTES),
    })
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
