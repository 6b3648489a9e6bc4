//! What is to be expected of a rollout: how long it takes, how far it is from blue, and what is out of reach.

use super::{Outlook, Plan, PlannedPhase, Schedule, Standby};
use crate::{
    spec::{Spec, TaskMode},
    time::Millis,
};

/// Moving the traffic of a batch, once its greens are ready.
const CUTOVER: Millis = Millis::from_secs(1);

/// A drill says how a rollback goes, not how blue works: its baseline only has to show that blue works at all.
const DRILL_BASELINE_MAX: Millis = Millis::from_mins(2);

pub(super) fn outlook(plan: &Plan, spec: &Spec) -> Outlook {
    let stopped = plan.agents().filter(|planned| planned.standby == Standby::Stopped);
    let assumed = |agent: &&super::PlannedAgent| plan.budget.needs.get(&agent.agent).is_none_or(|n| !n.boot_measured);
    let batches = plan.phases.iter().flat_map(|phase| &phase.batches);
    Outlook {
        undo_max: spec.rollout.undo_max,
        undo_longest: batches.map(|batch| batch.undo).max().unwrap_or_default(),
        undo_assumed: stopped.filter(assumed).count(),
        schedule: schedule(plan),
        unfenced: unfenced(spec),
    }
}

fn schedule(plan: &Plan) -> Schedule {
    let bakes: u64 = plan.phases.iter().map(|phase| phase.bake.0).sum();
    let extended: u64 = plan.phases.iter().map(|phase| phase.bake.compressed(1.0 / plan.extension).0).sum();
    let batches = plan.phases.iter().flat_map(|phase| &phase.batches);
    let moving = batches.fold(Millis::ZERO, |sum, batch| {
        let boots = batch.agents.iter().filter_map(|planned| plan.budget.needs.get(&planned.agent));
        sum + boots.map(|need| need.boot).max().unwrap_or_default() + CUTOVER
    });
    Schedule {
        planned: plan.baseline + Millis(bakes) + plan.validation,
        buffer: Millis(extended.saturating_sub(bakes)),
        moving,
    }
}

fn unfenced(spec: &Spec) -> Option<String> {
    match spec.tasks.mode {
        TaskMode::Queue => None,
        TaskMode::None => Some(
            "tasks.mode is none: whatever agents pull from elsewhere does not pass through the gateway. Nothing keeps \
             blue and green from both working on it while blue is warm, and nothing of it is counted or judged."
                .to_owned(),
        ),
    }
}

/// The same plan as a drill: the first batch moves and is taken back at once.
pub fn drill_of(plan: &Plan) -> Plan {
    let mut drill = plan.clone();
    drill.drill = true;
    drill.baseline = plan.baseline.min(DRILL_BASELINE_MAX);
    drill.phases.truncate(1);
    for PlannedPhase { batches, second_half, agents_cumulative, .. } in &mut drill.phases {
        batches.truncate(1);
        *second_half = None;
        *agents_cumulative = batches.iter().map(|batch| batch.agents.len()).sum();
    }
    let batches = || drill.phases.iter().flat_map(|phase| &phase.batches);
    drill.budget.peak_bytes = batches().map(|batch| batch.memory_peak_bytes).max().unwrap_or(0);
    drill.outlook.undo_longest = batches().map(|batch| batch.undo).max().unwrap_or_default();
    let schedule = schedule(&drill);
    // Nothing bakes and nothing is validated but blue.
    drill.outlook.schedule = Schedule { planned: drill.baseline, buffer: Millis::ZERO, moving: schedule.moving };
    drill
}
