//! What instances use, as the driver measured it: peaks for the plan, samples for the verdicts.

use std::collections::BTreeMap;

use bellwether_core::{
    id::{AgentName, InstanceId, Side},
    port::driver::{HostUsage, Usage},
    rollout::Controller,
};
use serde::{Deserialize, Serialize};

/// One beat, reduced to agents and sides. Kept in the controller's store until it is too old.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Beat {
    pub(crate) agents: Vec<AgentBeat>,
    pub(crate) memory_bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AgentBeat {
    pub(crate) agent: AgentName,
    pub(crate) side: Side,
    /// Whether it had the traffic.
    pub(crate) serving: bool,
    pub(crate) memory_bytes: u64,
    /// Over the time since the beat before; none on an instance's first.
    pub(crate) cpu_cores: Option<f64>,
}

#[derive(Default)]
pub(crate) struct UsageLog {
    last: BTreeMap<InstanceId, (u64, u64)>,
    peaks: BTreeMap<(AgentName, Side), u64>,
    pub(crate) host: HostUsage,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_peak_bytes: u64,
}

impl UsageLog {
    pub(crate) fn beat(&mut self, wall_ms: u64, sample: &[Usage], host: HostUsage, machine: &Controller) -> Beat {
        let before = std::mem::take(&mut self.last);
        let mut beat = Beat {
            memory_bytes: sample.iter().map(|usage| usage.memory_bytes).sum(),
            agents: Vec::with_capacity(sample.len()),
        };
        let serving: BTreeMap<&AgentName, Option<Side>> = machine.agents().collect();
        for usage in sample {
            self.last.insert(usage.instance, (wall_ms, usage.cpu_micros));
            let Some((agent, side)) = machine.seat_of(usage.instance) else { continue };
            let peak = self.peaks.entry((agent.clone(), side)).or_default();
            *peak = (*peak).max(usage.memory_bytes);
            #[expect(clippy::cast_precision_loss, reason = "microseconds of one beat")]
            let cpu_cores = before
                .get(&usage.instance)
                .filter(|(at, _)| wall_ms > *at)
                .map(|(at, cpu)| usage.cpu_micros.saturating_sub(*cpu) as f64 / 1e3 / (wall_ms - at) as f64);
            beat.agents.push(AgentBeat {
                agent: agent.clone(),
                side,
                serving: serving.get(agent).copied().flatten() == Some(side),
                memory_bytes: usage.memory_bytes,
                cpu_cores,
            });
        }
        self.host = host;
        self.memory_bytes = beat.memory_bytes;
        self.memory_peak_bytes = self.memory_peak_bytes.max(beat.memory_bytes);
        beat
    }

    pub(crate) fn peaks(&self, side: Side) -> BTreeMap<AgentName, u64> {
        self.peaks.iter().filter(|((_, s), _)| *s == side).map(|((agent, _), &peak)| (agent.clone(), peak)).collect()
    }
}
