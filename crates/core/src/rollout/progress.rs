//! How a rollout goes on: from what is the case to what is wanted next. Level-triggered, so that it does
//! not matter which event made a condition true, or whether the event was seen twice.

use super::{
    command::{Command, Window},
    fleet::Fleet,
    seat::{Seat, Trial, Want},
    state::{PauseReason, PhaseRecord, Retreat, RollbackStep, Rollout, State, Step, Trigger},
    timers::{Timer, Timers},
};
use crate::{
    analysis::{GateReport, Verdict},
    id::Side,
    plan::{PlannedAgent, Standby},
    spec::ThinEvidence,
    time::{Millis, Now},
};

const UNPLANNED_LOOK: u32 = 3;

/// Everything that a rollout acts on, for the length of one step.
pub(crate) struct World<'a> {
    pub(crate) now: Now,
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) timers: &'a mut Timers,
    pub(crate) out: &'a mut Vec<Command>,
}

impl World<'_> {
    pub(crate) fn stage_ends_after(&mut self, span: Millis) {
        self.timers.arm(Timer::Stage, self.now.mono + span);
    }

    fn is_ready(&self, planned: &PlannedAgent, side: Side) -> bool {
        self.fleet.agents.get(&planned.agent).is_some_and(|a| a.seat(side).is_some_and(|s| s.is.ready().is_some()))
    }

    fn is_served_by(&self, planned: &PlannedAgent, side: Side) -> bool {
        self.fleet.agents.get(&planned.agent).is_some_and(|agent| agent.served_by(side))
    }
}

impl Rollout {
    pub(crate) fn begin(&self, world: &mut World<'_>) {
        world.out.push(Command::OpenWindow { rollout: self.id, window: Window::Baseline });
        world.stage_ends_after(self.plan.baseline);
        self.open_window(world);
    }

    /// Takes every step whose condition holds. False if there was none.
    pub(crate) fn advance(&mut self, world: &mut World<'_>) -> bool {
        let mut moved = false;
        while self.advance_once(world) {
            moved = true;
        }
        moved
    }

    fn advance_once(&mut self, world: &mut World<'_>) -> bool {
        if self.retreat_further(world) || self.thaw(world) {
            return true;
        }
        match self.state {
            State::Progressing { phase, step: Step::Warming { batch } } => {
                if self.paused.is_some() || self.freeze(world) {
                    return false;
                }
                // Seats are made for a whole batch at once and in its order: where the last is there, all are.
                let has_seat = |planned: &PlannedAgent| {
                    world.fleet.agents.get(&planned.agent).is_none_or(|agent| agent.green.is_some())
                };
                if !self.movers(phase, batch).next_back().is_none_or(has_seat) {
                    self.seat_greens(phase, batch, world);
                }
                // From behind: they become ready about in their order, so that one which is not is found at once.
                if !self.movers(phase, batch).rev().all(|planned| world.is_ready(planned, Side::Green)) {
                    return false;
                }
                for planned in self.movers(phase, batch) {
                    if let Some(agent) = world.fleet.agent_mut(&planned.agent) {
                        agent.desired = Side::Green;
                        agent.warm = planned.standby == Standby::Warm;
                    }
                }
                self.state = State::Progressing { phase, step: Step::CuttingOver { batch } };
                true
            }
            State::Progressing { phase, step: Step::CuttingOver { batch } } => {
                if !self.movers(phase, batch).rev().all(|planned| world.is_served_by(planned, Side::Green)) {
                    return false;
                }
                for planned in self.movers(phase, batch) {
                    world.fleet.want(&planned.agent, Side::Blue, held_as(planned.standby));
                }
                if self.plan.drill {
                    self.roll_back(Trigger::Drill, world);
                    return true;
                }
                self.batch_done(phase, batch + 1, world);
                true
            }
            State::RollingBack { step } => self.undo_once(step, world),
            State::Completed => {
                // A green that is being restarted is stood in for by blue: giving that up would leave nobody. And
                // what blue took on meanwhile it may finish.
                let held_back = self.held_back();
                let relieved = |agent: &PlannedAgent| {
                    held_back.contains(&agent.agent)
                        || world.is_served_by(agent, Side::Green) && !world.fleet.blue_drains(&agent.agent)
                };
                let retreating = self.retreats.iter().any(Retreat::is_under_way);
                if !self.committing || retreating || !self.plan.agents().all(relieved) {
                    return false;
                }
                self.commit(world);
                true
            }
            State::Preflight
            | State::Progressing {
                step:
                    Step::AwaitingApproval | Step::Halfway { .. } | Step::Baking { .. } | Step::Gate { .. } | Step::Held,
                ..
            }
            | State::Validating { .. }
            | State::Committed
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => false,
        }
    }

    /// All batches before `next` are on green.
    fn batch_done(&mut self, phase: usize, next: usize, world: &mut World<'_>) {
        let planned = &self.plan.phases[phase];
        let half = planned.bake.compressed(2.0);
        if planned.second_half == Some(next) {
            self.open_bake(phase, world);
            self.state = State::Progressing { phase, step: Step::Halfway { next } };
            world.stage_ends_after(half);
        } else if next < planned.batches.len() {
            self.state = State::Progressing { phase, step: Step::Warming { batch: next } };
        } else {
            let span = if planned.second_half.is_some() { half } else { planned.bake };
            self.bake(phase, 1, span, world);
        }
    }

    /// The timer of the current stage is due.
    pub(crate) fn stage_due(&mut self, world: &mut World<'_>) {
        match self.state {
            State::Preflight => world.out.push(Command::MeasureBaseline { rollout: self.id }),
            State::Progressing { step: Step::Baking { .. }, .. } | State::Validating { judging: false } => {
                self.judge_now(world);
            }
            State::Progressing { phase, step: Step::Halfway { next } } => {
                self.state = State::Progressing { phase, step: Step::Warming { batch: next } };
            }
            // Giving up the way back is a change like any other, unless a person has asked for it.
            State::Completed => self.committing = self.committing || !self.freeze(world),
            State::RollingBack { .. } => self.over(State::NeedsAttention, world),
            State::Progressing {
                step:
                    Step::AwaitingApproval
                    | Step::Warming { .. }
                    | Step::CuttingOver { .. }
                    | Step::Gate { .. }
                    | Step::Held,
                ..
            }
            | State::Validating { judging: true }
            | State::Committed
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => {}
        }
    }

    pub(crate) fn judge_now(&mut self, world: &mut World<'_>) {
        world.timers.disarm(&Timer::Stage);
        match self.state {
            State::Progressing { phase, step: Step::Baking { look } } => {
                self.state = State::Progressing { phase, step: Step::Gate { look } };
            }
            State::Validating { judging: false } => self.state = State::Validating { judging: true },
            State::Preflight
            | State::Progressing { .. }
            | State::Validating { judging: true }
            | State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => return,
        }
        self.ask_again(world);
    }

    /// Issues again what waits for an answer of the analysis, or has none. After a crash it may have been lost.
    pub(crate) fn ask_again(&self, world: &mut World<'_>) {
        let rollout = self.id;
        match self.state {
            State::Preflight => {
                if self.baseline_after_second.is_none() {
                    world.out.push(Command::OpenWindow { rollout, window: Window::Baseline });
                }
                if world.timers.at(&Timer::Stage).is_none() {
                    world.out.push(Command::MeasureBaseline { rollout });
                }
            }
            State::Progressing {
                phase,
                step: step @ (Step::Halfway { .. } | Step::Baking { .. } | Step::Gate { .. }),
            } => {
                let window = Window::Phase(phase);
                if self.phases.last().is_some_and(|record| record.after_second.is_none()) {
                    world.out.push(Command::OpenWindow { rollout, window });
                }
                if let Step::Gate { look } = step {
                    world.out.push(Command::Judge { rollout, window, look });
                }
            }
            State::Validating { judging } => {
                if self.validation.as_ref().is_some_and(|record| record.after_second.is_none()) {
                    world.out.push(Command::OpenWindow { rollout, window: Window::Validation });
                }
                if judging {
                    world.out.push(Command::Judge { rollout, window: Window::Validation, look: 1 });
                }
            }
            State::Committed => world.out.push(world.fleet.settled()),
            State::RollingBack { step: RollbackStep::Validate } | State::NeedsAttention => self.ask_to_check(world),
            State::Progressing {
                step: Step::AwaitingApproval | Step::Warming { .. } | Step::CuttingOver { .. } | Step::Held,
                ..
            }
            | State::Completed
            | State::RollingBack { step: RollbackStep::Shift | RollbackStep::Swap }
            | State::RolledBack
            | State::PreflightFailed => {}
        }
    }

    pub(crate) fn baseline_measured(&mut self, until_second: u64, refused: Option<String>, world: &mut World<'_>) {
        if self.state != State::Preflight {
            return;
        }
        self.baseline_until_second = Some(until_second);
        match refused {
            None => self.enter(0, world),
            Some(reason) => {
                self.refused = Some(reason);
                self.over(State::PreflightFailed, world);
            }
        }
    }

    pub(crate) fn judged(&mut self, look: u32, report: GateReport, world: &mut World<'_>) {
        let verdict = report.verdict();
        let trigger = (verdict == Verdict::Fail).then(|| Trigger::Gate {
            criteria: report.failed().map(|j| j.id.clone()).collect(),
            why: report.failed().map(|j| j.why.clone()).collect::<Vec<_>>().join("; "),
        });
        match self.state {
            State::Progressing { phase, step: Step::Gate { look: asked } } if asked == look => {
                if let Some(record) = self.phases.last_mut() {
                    record.report = Some(report);
                }
                let planned = &self.plan.phases[phase];
                if let Some(trigger) = trigger {
                    self.roll_back(trigger, world);
                } else if verdict == Verdict::Inconclusive && look == 1 && self.plan.extension > 1.0 {
                    let more = planned.bake.compressed(1.0 / (self.plan.extension - 1.0));
                    self.state = State::Progressing { phase, step: Step::Baking { look: 2 } };
                    world.stage_ends_after(more);
                } else if verdict == Verdict::Inconclusive && planned.gate.thin_evidence == ThinEvidence::Ask {
                    self.state = State::Progressing { phase, step: Step::Held };
                    // Also where somebody paused already: resuming must not pass for an answer.
                    self.paused = Some(PauseReason::ThinEvidence);
                } else if self.paused.is_some() {
                    self.state = State::Progressing { phase, step: Step::Held };
                } else {
                    self.leave(phase, world);
                }
            }
            State::Validating { judging: true } => {
                if let Some(record) = &mut self.validation {
                    record.report = Some(report);
                }
                let asks = self.plan.phases.last().is_some_and(|last| last.gate.thin_evidence == ThinEvidence::Ask);
                if let Some(trigger) = trigger {
                    self.roll_back(trigger, world);
                } else if verdict == Verdict::Inconclusive && asks {
                    self.state = State::Validating { judging: false };
                    self.paused = Some(PauseReason::ThinEvidence);
                } else {
                    self.complete(world);
                }
            }
            // An answer to a question that is no longer asked: a rollback or a verb came first.
            State::Preflight
            | State::Progressing { .. }
            | State::Validating { judging: false }
            | State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => {}
        }
    }

    pub(crate) fn resume(&mut self, world: &mut World<'_>) {
        let thin = self.paused.take() == Some(PauseReason::ThinEvidence);
        if thin && self.state == (State::Validating { judging: false }) {
            world.stage_ends_after(self.plan.validation);
        }
        if let State::Progressing { phase, step: Step::Held } = self.state {
            if thin {
                // The question stands until a person promotes; resuming looks once more. It is a look that the
                // plan had no level for: it can answer the question, and by itself it cannot find harm.
                self.bake(phase, UNPLANNED_LOOK, self.plan.phases[phase].bake, world);
            } else {
                self.leave(phase, world);
            }
        }
    }

    /// A person decided that the phase, or the validation, may be left.
    pub(crate) fn go_on(&mut self, world: &mut World<'_>) {
        self.paused = None;
        if self.state == (State::Validating { judging: false }) {
            self.complete(world);
        }
        match self.state {
            State::Progressing { phase, step: Step::Held } => self.pass(phase, world),
            State::Progressing { phase, step: Step::Halfway { next } } => {
                world.timers.disarm(&Timer::Stage);
                self.state = State::Progressing { phase, step: Step::Warming { batch: next } };
            }
            State::Preflight
            | State::Progressing { .. }
            | State::Validating { .. }
            | State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => {}
        }
    }

    fn complete(&mut self, world: &mut World<'_>) {
        if let Some(record) = &mut self.validation {
            record.ended = Some(world.now.wall);
        }
        self.state = State::Completed;
        self.paused = None;
        self.ended = Some(world.now.wall);
        world.timers.disarm(&Timer::Window);
        world.stage_ends_after(self.plan.rollback_window);
    }

    fn commit(&mut self, world: &mut World<'_>) {
        self.paused = None;
        world.fleet.settle(world.timers, world.out);
        self.over(State::Committed, world);
    }

    pub(crate) fn over(&mut self, state: State, world: &mut World<'_>) {
        for timer in [Timer::Stage, Timer::Window, Timer::Thaw] {
            world.timers.disarm(&timer);
        }
        if state.is_over() {
            world.fleet.lift_limit();
        }
        self.state = state;
        self.ended.get_or_insert(world.now.wall);
    }

    pub(crate) fn begin_phase(&mut self, phase: usize, world: &mut World<'_>) {
        let planned = &self.plan.phases[phase];
        self.phases.push(PhaseRecord {
            name: planned.name.clone(),
            agents_cumulative: planned.agents_cumulative,
            began: world.now.wall,
            bake_began: None,
            after_second: None,
            ended: None,
            report: None,
        });
        for agent in world.fleet.agents.values_mut() {
            if let Some(green) = &mut agent.green {
                (green.exits, green.first_exit) = (0, None);
            }
        }
        self.state = State::Progressing { phase, step: Step::Warming { batch: 0 } };
    }

    /// The agents of a batch, but for those that were taken back.
    fn movers(&self, phase: usize, batch: usize) -> impl DoubleEndedIterator<Item = &PlannedAgent> {
        let held_back = self.held_back();
        let agents = self.plan.phases[phase].batches[batch].agents.iter();
        agents.filter(move |planned| !held_back.contains(&planned.agent))
    }

    /// Seats that are there already are left as they are.
    fn seat_greens(&self, phase: usize, batch: usize, world: &mut World<'_>) {
        for planned in self.movers(phase, batch) {
            if world.fleet.agents.get(&planned.agent).is_none_or(|agent| agent.green.is_some()) {
                continue;
            }
            let shown = self.plan.revisions.get(&planned.to).map_or_else(Default::default, |r| (r.http, r.delivery));
            let trial = Trial::of(planned, shown.1);
            if let Some(agent) = world.fleet.agent_mut(&planned.agent) {
                let seat =
                    Seat::new(planned.agent.clone(), Side::Green, planned.to.clone(), shown, planned.boot, trial);
                agent.green = Some(seat);
            }
        }
    }

    fn bake(&mut self, phase: usize, look: u32, span: Millis, world: &mut World<'_>) {
        self.state = State::Progressing { phase, step: Step::Baking { look } };
        self.open_bake(phase, world);
        world.stage_ends_after(span);
    }

    /// What is seen from here on belongs to the phase's bake, unless that began before: at half time, or for a look
    /// that was not the last.
    fn open_bake(&mut self, phase: usize, world: &mut World<'_>) {
        let Some(record) = self.phases.last_mut().filter(|record| record.bake_began.is_none()) else { return };
        record.bake_began = Some(world.now.wall);
        world.out.push(Command::OpenWindow { rollout: self.id, window: Window::Phase(phase) });
    }

    pub(super) fn pass(&mut self, phase: usize, world: &mut World<'_>) {
        if let Some(record) = self.phases.last_mut() {
            record.ended = Some(world.now.wall);
        }
        if phase + 1 < self.plan.phases.len() {
            return self.enter(phase + 1, world);
        }
        self.state = State::Validating { judging: false };
        self.validation = Some(PhaseRecord {
            name: "validation".into(),
            agents_cumulative: self.plan.phases[phase].agents_cumulative,
            began: world.now.wall,
            bake_began: Some(world.now.wall),
            after_second: None,
            ended: None,
            report: None,
        });
        world.out.push(Command::OpenWindow { rollout: self.id, window: Window::Validation });
        world.stage_ends_after(self.plan.validation);
    }
}

fn held_as(standby: Standby) -> Want {
    match standby {
        Standby::Warm => Want::Running,
        Standby::Frozen => Want::Frozen,
        Standby::Stopped => Want::Stopped,
    }
}
