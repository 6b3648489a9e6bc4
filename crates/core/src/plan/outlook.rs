//! What is to be expected of a rollout: how long it takes, how far it is from blue, and what is out of reach.

use super::{Batch, Detection, Measured, Outlook, Plan, PlannedAgent, PlannedPhase, Schedule, Standby, TryOuts};
use crate::{
    id::AgentName,
    spec::{Approval, Delivery, Spec, TaskMode},
    time::Millis,
    watch::{self, FaultClass},
};

/// Moving the traffic of a batch, once its greens are ready.
const CUTOVER: Millis = Millis::from_secs(1);

/// A drill says how a rollback goes, not how blue works: its baseline only has to show that blue works at all.
const DRILL_BASELINE_MAX: Millis = Millis::from_mins(2);

pub(super) fn outlook(plan: &Plan, spec: &Spec, measured: &Measured) -> Outlook {
    let stopped = plan.agents().filter(|planned| planned.standby == Standby::Stopped);
    let assumed = |agent: &&super::PlannedAgent| plan.budget.needs.get(&agent.agent).is_none_or(|n| !n.boot_measured);
    let batches = plan.phases.iter().flat_map(|phase| &phase.batches);
    let try_outs = try_outs(plan, spec, measured);
    Outlook {
        undo_max: spec.rollout.undo_max,
        undo_longest: batches.map(|batch| batch.undo).max().unwrap_or_default(),
        undo_assumed: stopped.filter(assumed).count(),
        schedule: schedule(plan, &try_outs),
        try_outs,
        mute: mute(plan),
        unfenced: unfenced(spec),
        detection: detection(plan, spec, measured),
        timetable: None,
    }
}

fn schedule(plan: &Plan, try_outs: &TryOuts) -> Schedule {
    let bakes: u64 = plan.phases.iter().map(|phase| phase.bake.0).sum();
    let extended: u64 = plan.phases.iter().map(|phase| phase.bake.compressed(1.0 / plan.extension).0).sum();
    let batches = plan.phases.iter().flat_map(|phase| &phase.batches);
    let moving = batches.fold(Millis::ZERO, |sum, batch| sum + moving(plan, try_outs, batch));
    Schedule {
        planned: plan.baseline + Millis(bakes) + plan.validation,
        buffer: Millis(extended.saturating_sub(bakes)),
        moving,
        draining: draining(plan),
    }
}

/// Starting the greens of a batch, trying them out and moving their traffic.
pub(super) fn moving(plan: &Plan, try_outs: &TryOuts, batch: &Batch) -> Millis {
    let boots = batch.agents.iter().filter_map(|planned| plan.budget.needs.get(&planned.agent));
    let boot = boots.map(|need| need.boot).max().unwrap_or_default();
    boot + try_outs.of_batch(plan.tried_out(batch).count()).unwrap_or_default() + CUTOVER
}

fn try_outs(plan: &Plan, spec: &Spec, measured: &Measured) -> TryOuts {
    let asked = plan.agents().filter_map(|planned| planned.trial(plan.delivery(planned)));
    let (greens, within) = asked.fold((0, Millis::ZERO), |(count, most), (_, within)| (count + 1, most.max(within)));
    let task = measured.traffic.map(|traffic| seconds(traffic.task_seconds));
    TryOuts { greens, within, task, slots: spec.ollama.slots() }
}

/// Greens of which neither tasks nor health tell anything.
fn mute(plan: &Plan) -> Vec<AgentName> {
    let shows_nothing = |planned: &&PlannedAgent| {
        let revision = plan.revisions.get(&planned.to);
        revision.is_some_and(|revision| revision.delivery == Delivery::None && !revision.http)
    };
    plan.agents().filter(shows_nothing).map(|planned| planned.agent.clone()).collect()
}

fn draining(plan: &Plan) -> Millis {
    let batches: Vec<_> = plan.phases.iter().flat_map(|phase| &phase.batches).collect();
    let followed = batches.len().saturating_sub(1);
    batches[..followed].iter().fold(Millis::ZERO, |sum, batch| {
        let stopped = batch.agents.iter().filter(|planned| planned.standby == Standby::Stopped);
        sum + stopped.map(|planned| planned.drain).max().unwrap_or_default()
    })
}

fn unfenced(spec: &Spec) -> Option<String> {
    match spec.tasks.mode {
        TaskMode::Queue | TaskMode::Relay => None,
        TaskMode::None => Some(
            "tasks.mode is none: whatever agents pull from elsewhere does not pass through the gateway. Nothing keeps \
             blue and green from both working on it while blue is warm (standby: frozen or stopped does), and nothing of it \
             is counted or judged."
                .to_owned(),
        ),
    }
}

fn detection(plan: &Plan, spec: &Spec, measured: &Measured) -> Vec<Detection> {
    let traffic = measured.traffic;
    let known = |class: FaultClass| match class {
        FaultClass::Crash | FaultClass::Health | FaultClass::ModelServer => true,
        FaultClass::Errors | FaultClass::Latency | FaultClass::Hang | FaultClass::EmptyAnswers => traffic.is_some(),
    };
    let boots = plan.agents().filter_map(|planned| plan.budget.needs.get(&planned.agent)).map(|need| need.boot);
    let boot = boots.max().unwrap_or_default();
    let phases = plan.phases.iter().map(|phase| {
        let expected = watch::Traffic {
            calls_per_second: traffic.map_or(0.0, |traffic| traffic.tasks_per_second),
            green_share: share(phase.agents_cumulative, spec.agents.len()),
            green_agents: u32::try_from(phase.agents_cumulative).unwrap_or(u32::MAX),
            base_error_rate: traffic.map_or(0.0, |traffic| traffic.base_error_rate),
            error_margin: plan.criteria.error_rise_max,
            task_time: seconds(traffic.map_or(0.0, |traffic| traffic.task_seconds)),
            task_time_max: seconds(traffic.map_or(0.0, |traffic| traffic.task_seconds_max.max(traffic.task_seconds))),
            boot,
            crash_loop: plan.crash_loop,
        };
        let faults = watch::reach(&plan.triggers, &expected).into_iter().filter(|reach| known(reach.class)).collect();
        Detection { phase: phase.name.clone(), faults }
    });
    phases.collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of agents")]
fn share(part: usize, all: usize) -> f64 {
    part as f64 / all.max(1) as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast that saturates")]
fn seconds(seconds: f64) -> Millis {
    Millis((seconds * 1e3).ceil() as u64)
}

/// The same plan as a drill: the first batch moves and is taken back at once.
pub fn drill_of(plan: &Plan) -> Plan {
    let mut drill = plan.clone();
    drill.drill = true;
    drill.window = None;
    drill.baseline = plan.baseline.min(DRILL_BASELINE_MAX);
    drill.phases.truncate(1);
    for PlannedPhase { batches, second_half, agents_cumulative, approval, .. } in &mut drill.phases {
        batches.truncate(1);
        // A drill is what whoever is to approve wants to have seen.
        *approval = Approval::None;
        *second_half = None;
        *agents_cumulative = batches.iter().map(|batch| batch.agents.len()).sum();
    }
    let batches = || drill.phases.iter().flat_map(|phase| &phase.batches);
    drill.budget.peak_bytes = batches().map(|batch| batch.memory_peak_bytes).max().unwrap_or(0);
    drill.outlook.detection.clear();
    drill.outlook.undo_longest = batches().map(|batch| batch.undo).max().unwrap_or_default();
    drill.outlook.try_outs.greens = batches().map(|batch| drill.tried_out(batch).count()).sum();
    drill.outlook.mute = mute(&drill);
    let schedule = schedule(&drill, &drill.outlook.try_outs);
    // Nothing bakes and nothing is validated but blue.
    drill.outlook.schedule = Schedule { planned: drill.baseline, buffer: Millis::ZERO, ..schedule };
    drill
}
