//! A person's own fleet and release in the simulated world: the real controller, traffic, gates and triggers, in
//! virtual time, with nobody there who would decide anything.

mod fault;
mod summary;
mod timeline;

use std::collections::BTreeSet;

use bellwether_core::{
    id::AgentName,
    plan::{Plan, PlannedPhase},
    rollout::{PauseReason, RollbackRecord, Rollout, State, Trigger},
    spec::{Approval, Spec},
    time::{Millis, Nanos},
};
use serde::Serialize;

pub use fault::{BadFault, Fault, Sickness};
pub use summary::{Phase, Spread, Summary, summarise};
pub use timeline::Spent;
pub(crate) use timeline::Timeline;

use crate::{
    Violation,
    fleet::{Fleet, Pace},
    scenario::{STUDY, Scenario},
    world::{World, deaths::Deaths},
};

/// What is simulated.
#[derive(Clone)]
pub struct Study {
    fleet: Fleet,
    scenario: Scenario,
}

/// The load: not what was measured, but what somebody takes for likely.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Tasks per second, all agents together; each makes one model call.
    pub rate: f64,
    /// The median time of a model call. Half of them take between two thirds and one and a half times as long.
    pub call: Millis,
    /// What switching the loaded model adds to a call.
    pub model_load: Millis,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub seed: u64,
    pub ending: Ending,
    /// What undid it, paused it or held it up.
    pub why: Option<String>,
    /// From the start to the end of the last stage that is judged, or to where it stopped.
    pub took: Millis,
    /// The whole way back, or the longest of those of parts.
    pub back: Option<Back>,
    /// Parts that were taken back while the rest went on.
    pub parts: usize,
    pub memory_peak_bytes: u64,
    /// What the time went to, by phase.
    pub spent: Vec<(Option<usize>, Spent, Millis)>,
    pub tasks: u64,
    /// Attempts, not tasks.
    pub tasks_failed: u64,
    /// By the bound of the queue: there was more work than the slots could do.
    pub tasks_refused: u64,
    pub leases_lost: u64,
    /// Sum over agents of the time without a ready instance.
    pub unavailable: Millis,
    pub crashes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Completed,
    RolledBack,
    /// It waits for a person.
    Paused,
    /// A rollback could not be validated in time.
    NeedsAttention,
    /// The baseline cannot serve; nothing was touched.
    Refused,
    /// It was not over after twice the time that the plan gives it at most, and a day.
    Unfinished,
}

/// Times of a way back (R46 to R49).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Back {
    /// From the first harm to the decision; none where nobody can know.
    pub detection: Option<Millis>,
    /// From the decision until all traffic was on blue.
    pub execution: Option<Millis>,
    /// From there until blue was seen to work.
    pub validation: Option<Millis>,
    pub end_to_end: Option<Millis>,
}

/// A run in which an invariant was broken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {seed}: {violation}")]
pub struct Broken {
    pub seed: u64,
    pub violation: Violation,
}

/// Without a `rate`, so much of the slots' time is taken.
const BUSY: f64 = 0.4;

impl Load {
    pub const CALL: Millis = Millis(4_000);
    pub const MODEL_LOAD: Millis = Millis(1_500);

    /// What keeps the slots two fifths busy.
    pub fn usual(slots: u32, call: Millis) -> Self {
        let rate = BUSY * f64::from(slots.max(1)) / call.as_secs_f64().max(1e-3);
        Self { rate, call, model_load: Self::MODEL_LOAD }
    }
}

impl Study {
    /// Approvals are taken as given when they are asked for: how long people take is not what is studied.
    pub fn new(spec: Spec, mut plan: Plan, load: Load, faults: &[Fault]) -> Self {
        plan.phases.iter_mut().for_each(|phase| phase.approval = Approval::None);
        let sick = faults.iter().find_map(|fault| match fault {
            Fault::Green { sickness, phase } => Some((*sickness, agents_from(&plan.phases, *phase))),
            Fault::Deaths { .. }
            | Fault::ControllerCrashes { .. }
            | Fault::GatewayCrashes { .. }
            | Fault::SupervisorCrashes { .. }
            | Fault::LinkBreaks { .. }
            | Fault::DriverLies => None,
        });
        let mut scenario = STUDY;
        for fault in faults {
            match *fault {
                Fault::Green { .. } => {}
                Fault::Deaths { every } => scenario.death_every = every,
                Fault::ControllerCrashes { every } => scenario.controller_dies_every = every,
                Fault::GatewayCrashes { every } => scenario.gateway_dies_every = every,
                Fault::SupervisorCrashes { every } => scenario.supervisor_dies_every = every,
                Fault::LinkBreaks { every } => scenario.link_breaks_every = every,
                Fault::DriverLies => scenario.lies = fault::LIES,
            }
        }
        scenario.on_shared_fault = plan.triggers.on_shared_fault;
        scenario.scope = plan.triggers.scope;
        scenario.availability_min = plan.criteria.availability_min;
        scenario.scarce_memory = plan.agents().any(|planned| planned.standby != bellwether_core::plan::Standby::Warm);
        let pace = Pace::studied(&spec, load);
        Self { fleet: Fleet { spec, plan, pace, sick }, scenario }
    }

    pub fn run(&self, seed: u64) -> Result<Run, Broken> {
        let mut world = World::new(&self.fleet, self.scenario, seed, Deaths::default());
        let broken = |violation| Broken { seed, violation };
        let mut stopped = None;
        while world.next(&mut |_, _| {}).map_err(broken)?.is_some() {
            if let Some(ending) = world.stops() {
                stopped = Some(ending);
                break;
            }
        }
        match stopped {
            None => world.check_the_end().map_err(broken)?,
            Some(_) => world.shell.compare().map_err(broken)?,
        }
        Ok(self.told(&mut world, seed, stopped))
    }

    fn told(&self, world: &mut World, seed: u64, stopped: Option<Ending>) -> Run {
        let rollout = world.shell.machine.rollout();
        let ending = stopped.unwrap_or(match rollout.map(|rollout| rollout.state) {
            Some(State::Committed) => Ending::Completed,
            Some(State::PreflightFailed) => Ending::Refused,
            _ => Ending::RolledBack,
        });
        let records = rollout.into_iter().flat_map(records);
        let back = records.map(back).max_by_key(|back| (back.execution, back.end_to_end));
        let now = world.now();
        let study = world.study();
        study.timeline.note(now, None);
        let spent = study.timeline.spans().iter().map(|(&(phase, spent), &span)| (phase, spent, span)).collect();
        let (began, ended) = (study.began, study.ended);
        let (tasks_failed, tasks_refused) = (study.tasks_failed, study.tasks_refused);
        let rollout = world.shell.machine.rollout();
        Run {
            seed,
            ending,
            why: rollout.and_then(|rollout| why(rollout, ending)),
            took: ended.unwrap_or(now).since(began.unwrap_or(Nanos(0))),
            back,
            parts: rollout.map_or(0, |rollout| rollout.retreats.len()),
            memory_peak_bytes: world.memory_peak_bytes(),
            spent,
            tasks: world.referee.tasks(),
            tasks_failed,
            tasks_refused,
            leases_lost: world.referee.leases_lost,
            unavailable: world.referee.unavailable,
            crashes: world.crashes,
        }
    }
}

fn records(rollout: &Rollout) -> impl Iterator<Item = &RollbackRecord> {
    rollout.rollback.iter().chain(rollout.retreats.iter().map(|retreat| &retreat.record))
}

fn back(record: &RollbackRecord) -> Back {
    Back {
        detection: record.detection(),
        execution: record.execution(),
        validation: record.validation(),
        end_to_end: record.end_to_end(),
    }
}

fn why(rollout: &Rollout, ending: Ending) -> Option<String> {
    match ending {
        Ending::Completed | Ending::Unfinished => None,
        Ending::Refused => rollout.refused.clone(),
        Ending::RolledBack | Ending::NeedsAttention => rollout.rollback.as_ref().map(|undone| kind(&undone.trigger)),
        Ending::Paused => rollout.paused.as_ref().map(|reason| {
            match reason {
                PauseReason::Asked { .. } => "a person asked for it",
                PauseReason::ThinEvidence => "the evidence is too thin for a gate, and the policy asks a person",
                PauseReason::SharedFault { .. } => "blue suffers as green does, and the policy is to hold",
                PauseReason::PartlyRolledBack { .. } => "a part was taken back, and a person is to look",
                PauseReason::DiskFull { .. } => "the disk of the state directory was full",
                PauseReason::Frozen { .. } => "a freeze window was open",
                PauseReason::WindowClosed => "its window closed before it was done (R20)",
            }
            .to_owned()
        }),
    }
}

/// A trigger without what differs from run to run.
fn kind(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Operator { .. } => "a person".to_owned(),
        Trigger::Gate { criteria, .. } => format!("gate: {}", criteria.join(", ")),
        Trigger::CrashLoop { .. } => "crash loop (R99)".to_owned(),
        Trigger::OutOfMemory { .. } => "out of memory (R55)".to_owned(),
        Trigger::Alarm(alarm) => format!("trigger: {} ({})", alarm.kind.name(), alarm.kind.requirement()),
        Trigger::Drill => "drill (R51)".to_owned(),
        Trigger::Unrecorded { .. } => "begun while the disk was full".to_owned(),
        Trigger::WindowClosed { .. } => "window closed (R20)".to_owned(),
    }
}

fn agents_from(phases: &[PlannedPhase], from: usize) -> BTreeSet<AgentName> {
    let batches = phases.iter().skip(from).flat_map(|phase| &phase.batches);
    batches.flat_map(|batch| &batch.agents).map(|planned| planned.agent.clone()).collect()
}
