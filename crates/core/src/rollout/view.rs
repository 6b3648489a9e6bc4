//! What a person or a program may see of a controller. Built on request; the machine itself stays private.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    approval::ApprovalRecord,
    controller::Controller,
    position::Position,
    seat::{Is, Seat},
    state::{Again, PauseReason, PhaseRecord, Retreat, RollbackRecord, Rollout, State},
    timers::Timer,
};
use crate::{
    id::{AgentName, AgentType, Generation, InstanceId, PhaseName, RevisionId, RevisionName, RolloutId, Side},
    plan::FreezeOverride,
    spec::{Approval, AtEnd, Triggers},
    time::{ClockJump, Millis, Now, UnixMillis},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControllerView {
    pub generation: Generation,
    pub agents: Vec<AgentView>,
    pub rollout: Option<RolloutView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    pub name: AgentName,
    pub agent_type: AgentType,
    /// Which side has the traffic; none while no instance was ready yet.
    pub serving: Option<Side>,
    pub active: Option<InstanceId>,
    /// The phase of the rollout that moves it.
    pub phase: Option<usize>,
    pub blue: SeatView,
    pub green: Option<SeatView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeatView {
    pub revision: RevisionId,
    #[serde(flatten)]
    pub is: Is,
    pub failures: u32,
    /// Why the last instance was ended as failed, or what is wrong with its answers to synthetic tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    pub id: RolloutId,
    pub release: RevisionName,
    pub by: String,
    #[serde(flatten)]
    pub state: State,
    pub paused: Option<PauseReason>,
    pub refused: Option<String>,
    pub started: UnixMillis,
    pub ended: Option<UnixMillis>,
    /// What is left of the stage that runs on a clock: baseline, bake, validation, rollback window.
    pub stage_left: Option<Millis>,
    pub speed: f64,
    pub phases: Vec<PhaseView>,
    pub validation: Option<PhaseRecord>,
    pub rollback: Option<RollbackRecord>,
    pub retreats: Vec<Retreat>,
    #[serde(default)]
    pub clock_jumps: Vec<(UnixMillis, ClockJump)>,
    /// What would end it at once.
    pub triggers: Triggers,
    pub drill: bool,
    /// The time within which it has to be done, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowView>,
    /// Who lets it go on in freeze windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_override: Option<FreezeOverride>,
    /// To be handed back with a verb, which is refused if it would mean something else by then.
    #[serde(default)]
    pub position: Position,
    /// The rollout that this one tries again, and why.
    #[serde(default)]
    pub again: Option<Again>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowView {
    pub window: Millis,
    pub at_end: AtEnd,
    /// When it closed before the rollout was done.
    pub closed: Option<UnixMillis>,
    /// Until it closes; none once nothing is left to be done in it.
    pub left: Option<Millis>,
    /// What is planned yet, without extensions; moving agents is estimated.
    pub planned: Millis,
}

impl WindowView {
    /// What longer bakes, pauses and freezes may spend of it yet.
    pub fn buffer(&self) -> Option<Millis> {
        Some(self.left? - self.planned)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseView {
    pub name: PhaseName,
    pub agents: usize,
    pub agents_cumulative: usize,
    pub bake: Millis,
    pub batches: usize,
    #[serde(default)]
    pub approval: Approval,
    /// None where no approval is asked for, or the phase was not reached.
    #[serde(default)]
    pub approved: Option<ApprovalRecord>,
    /// None before the phase has begun.
    pub record: Option<PhaseRecord>,
}

impl Controller {
    pub fn view(&self, now: Now) -> ControllerView {
        let rollout = self.rollouts.last();
        let phases = rollout.iter().flat_map(|rollout| rollout.plan.phases.iter().enumerate());
        let phase_of: BTreeMap<&AgentName, usize> = phases
            .flat_map(|(phase, planned)| planned.batches.iter().flat_map(|b| &b.agents).map(move |a| (&a.agent, phase)))
            .collect();
        let agents = self.fleet.agents.iter().map(|(name, agent)| AgentView {
            name: name.clone(),
            agent_type: agent.agent_type.clone(),
            serving: agent.serving(),
            active: agent.active,
            phase: phase_of.get(name).copied(),
            blue: seat_view(&agent.blue),
            green: agent.green.as_ref().map(seat_view),
        });
        ControllerView {
            generation: self.fleet.generation,
            agents: agents.collect(),
            rollout: rollout.map(|rollout| self.rollout_view(rollout, now)),
        }
    }

    pub fn rollout_view(&self, rollout: &Rollout, now: Now) -> RolloutView {
        let last = self.rollouts.last().is_some_and(|last| last.id == rollout.id);
        let ends = self.timers.at(&Timer::Stage).filter(|_| last);
        RolloutView {
            id: rollout.id,
            release: rollout.plan.release.clone(),
            by: rollout.by.clone(),
            state: rollout.state,
            paused: rollout.paused.clone(),
            refused: rollout.refused.clone(),
            started: rollout.started,
            ended: rollout.ended,
            stage_left: ends.map(|at| at.since(now.mono)),
            speed: rollout.plan.speed,
            phases: phases(rollout),
            validation: rollout.validation.clone(),
            rollback: rollout.rollback.clone(),
            retreats: rollout.retreats.clone(),
            clock_jumps: rollout.clock_jumps.clone(),
            triggers: rollout.plan.triggers.clone(),
            drill: rollout.plan.drill,
            window: self.window_view(rollout, now),
            freeze_override: rollout.freeze_override.clone(),
            position: rollout.position(),
            again: rollout.again.clone(),
        }
    }
}

impl Controller {
    fn window_view(&self, rollout: &Rollout, now: Now) -> Option<WindowView> {
        let last = self.rollouts.last().is_some_and(|last| last.id == rollout.id);
        let at = |timer| self.timers.at(&timer).filter(|_| last);
        Some(WindowView {
            window: rollout.plan.window?,
            at_end: rollout.plan.at_end,
            closed: rollout.window_closed,
            left: rollout.window_left(at(Timer::Window), now),
            planned: rollout.still_planned(at(Timer::Stage).map(|at| at.since(now.mono))),
        })
    }
}

fn phases(rollout: &Rollout) -> Vec<PhaseView> {
    let records = rollout.phases.iter().cloned().map(Some).chain(std::iter::repeat(None));
    let phases = rollout.plan.phases.iter().enumerate().zip(records).map(|((phase, planned), record)| PhaseView {
        name: planned.name.clone(),
        agents: planned.batches.iter().map(|batch| batch.agents.len()).sum(),
        agents_cumulative: planned.agents_cumulative,
        bake: planned.bake,
        batches: planned.batches.len(),
        approval: planned.approval,
        approved: rollout.approvals.iter().find(|record| record.phase == phase).cloned(),
        record,
    });
    phases.collect()
}

fn seat_view(seat: &Seat) -> SeatView {
    SeatView { revision: seat.revision.clone(), is: seat.is, failures: seat.failures, fault: seat.fault.clone() }
}
