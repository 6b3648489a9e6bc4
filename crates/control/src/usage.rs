//! What instances use, as the driver measured it: needs for the plan, samples for the verdicts and the watch.

use std::collections::BTreeMap;

use bellwether_core::{
    id::{AgentName, InstanceId, RevisionId, Side},
    port::driver::{HostUsage, Usage},
    rollout::Controller,
    time::{Nanos, UnixMillis},
    watch::{InstanceUsage, UsageBeat},
};
use serde::{Deserialize, Serialize};

use crate::measured::{Boots, Seen};

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

impl Beat {
    /// The same for the watch, which looks at every instance, whether it serves or not.
    pub(crate) fn for_watch(&self, at: UnixMillis, cpus: u32) -> UsageBeat {
        let instances = self.agents.iter().map(|beat| InstanceUsage {
            agent: beat.agent.clone(),
            side: beat.side,
            memory_bytes: beat.memory_bytes,
            cpu_cores: beat.cpu_cores,
        });
        UsageBeat { at, cpus, instances: instances.collect() }
    }
}

#[derive(Default)]
pub(crate) struct UsageLog {
    /// When each was measured last, and the CPU time that it had used by then.
    last: BTreeMap<InstanceId, (Nanos, u64)>,
    pub(crate) seen: Seen,
    pub(crate) host: HostUsage,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_peak_bytes: u64,
}

impl UsageLog {
    /// With what the journal tells of boots; everything else is measured again.
    pub(crate) fn resumed(boots: Boots) -> Self {
        Self { seen: Seen::with_boots(boots), ..Self::default() }
    }

    pub(crate) fn beat(&mut self, at: Nanos, sample: &[Usage], host: HostUsage, machine: &Controller) -> Beat {
        let before = std::mem::take(&mut self.last);
        let mut beat = Beat {
            memory_bytes: sample.iter().map(|usage| usage.memory_bytes).sum(),
            agents: Vec::with_capacity(sample.len()),
        };
        let serving: BTreeMap<&AgentName, Option<Side>> = machine.agents().collect();
        let greens = greens(machine);
        for usage in sample {
            self.last.insert(usage.instance, (at, usage.cpu_micros));
            let Some((agent, side)) = machine.seat_of(usage.instance) else { continue };
            #[expect(clippy::cast_precision_loss, reason = "microseconds of one beat")]
            let cpu_cores = before
                .get(&usage.instance)
                .filter(|(before, _)| at > *before)
                .map(|(before, cpu)| usage.cpu_micros.saturating_sub(*cpu) as f64 / 1e6 / at.secs_f64_since(*before));
            let revision = match side {
                Side::Blue => machine.blue_revision(agent),
                Side::Green => greens.get(agent).copied(),
            };
            let serves = serving.get(agent).copied().flatten() == Some(side);
            if let Some(revision) = revision {
                let idle_cores = cpu_cores.filter(|_| !serves && machine.is_ready(usage.instance));
                let busy_cores = cpu_cores.filter(|_| serves);
                self.seen.used(agent, revision, usage.memory_bytes, busy_cores, idle_cores);
            }
            beat.agents.push(AgentBeat {
                agent: agent.clone(),
                side,
                serving: serves,
                memory_bytes: usage.memory_bytes,
                cpu_cores,
            });
        }
        self.seen.host(&host);
        self.host = host;
        self.memory_bytes = beat.memory_bytes;
        self.memory_peak_bytes = self.memory_peak_bytes.max(beat.memory_bytes);
        beat
    }
}

/// What the rollout under way makes of each agent.
fn greens(machine: &Controller) -> BTreeMap<&AgentName, &RevisionId> {
    let planned = machine.rollout().into_iter().flat_map(|rollout| rollout.plan.agents());
    planned.map(|planned| (&planned.agent, &planned.to)).collect()
}
