//! CPU: blues that stay warm go on asking for work, and a fleet's worth of that can be too much for a small machine.
//!
//! Only what was measured counts. Green is taken to work as its blue did; what a canary shows to be worse is the
//! criteria's business (R34), not the plan's.

use super::{CpuBudget, Measured, Standby, batches::PackedPhase, fit::Stuck};
use crate::{
    id::AgentName,
    spec::{AgentSpec, Spec, StandbyPolicy},
};

/// The plan stays this far below the CPU trigger (R40).
const BELOW_TRIGGER: f64 = 0.05;
/// Where the trigger is switched off.
const TRIGGER: f64 = 0.9;

/// Share of all CPUs that a plan uses at most: 85 % by default.
pub(super) fn ceiling(spec: &Spec) -> f64 {
    spec.rollout.triggers.cpu.unwrap_or(TRIGGER) - BELOW_TRIGGER
}

/// Freezes as few warm blues as are needed, the busiest idlers first and critical ones last.
pub(super) fn freeze(
    phases: &mut [PackedPhase<'_>],
    spec: &Spec,
    measured: &Measured,
    policy: fn(&AgentSpec) -> StandbyPolicy,
) -> Result<Option<CpuBudget>, Stuck> {
    let Some(cpus) = measured.cpus.filter(|_| !measured.blue_cpu_cores.is_empty()) else { return Ok(None) };
    let idle = |agent: &AgentName| measured.blue_idle_cores.get(agent).copied().unwrap_or(0.0);
    let working_cores: f64 = spec.agents.iter().filter_map(|agent| measured.blue_cpu_cores.get(&agent.name)).sum();
    let ceiling_cores = ceiling(spec) * f64::from(cpus);

    let mut warm: Vec<(&AgentSpec, &mut Standby)> = phases
        .iter_mut()
        .flat_map(|phase| &mut phase.batches)
        .flat_map(|batch| &mut batch.agents)
        .filter(|(_, standby)| *standby == Standby::Warm)
        .map(|(agent, standby)| (*agent, standby))
        .collect();
    let mut idle_cores: f64 = warm.iter().map(|(agent, _)| idle(&agent.name)).sum();
    warm.sort_by(|(a, _), (b, _)| a.critical.cmp(&b.critical).then(idle(&b.name).total_cmp(&idle(&a.name))));
    let free_to_freeze =
        warm.iter_mut().filter(|(agent, _)| policy(agent) == StandbyPolicy::Auto && idle(&agent.name) > 0.0);
    for (agent, standby) in free_to_freeze {
        if working_cores + idle_cores <= ceiling_cores {
            break;
        }
        **standby = Standby::Frozen;
        idle_cores -= idle(&agent.name);
    }
    let declared: Vec<AgentName> = warm
        .iter()
        .filter(|(agent, standby)| **standby == Standby::Warm && idle(&agent.name) > 0.0)
        .map(|(agent, _)| agent.name.clone())
        .collect();
    // Rounding of sums must not leave a trace of what is gone.
    let idle_cores = declared.iter().map(idle).fold(0.0, |sum, cores| sum + cores);
    // Where the agents that work are too much already, what stays warm is not to blame.
    if working_cores <= ceiling_cores && working_cores + idle_cores > ceiling_cores + 1e-9 {
        return Err(Stuck::Cpu { cpus, ceiling_cores, working_cores, idle_cores, warm: declared });
    }
    Ok(Some(CpuBudget { cpus, ceiling_cores, working_cores, idle_cores }))
}
