//! When a rollout may go on: freeze windows, and the window that it has to be done in.
//!
//! Decided by the wall clock at the moment of each step, and looked at again while it waits: a clock that jumps
//! makes a rollout wait longer or shorter, and never lose itself. What goes back is never held up.

use super::{
    controller::Refusal,
    event::VerbKind,
    progress::World,
    state::{PauseReason, Rollout, State, Step, Trigger},
    timers::Timer,
    verbs::Effect,
};
use crate::{
    plan::{Freeze, FreezeOverride},
    spec::AtEnd,
    time::{Millis, Nanos, Now, UnixMillis},
};

/// A wall clock that was set forward while a rollout is frozen is noticed within this.
const LOOK_AGAIN: Millis = Millis::from_mins(5);

impl Rollout {
    /// The freeze window that is open now, unless it does not count for this rollout.
    pub fn frozen(&self, wall: UnixMillis) -> Option<&Freeze> {
        if self.freeze_override.is_some() { None } else { self.plan.freeze_at(wall) }
    }

    /// Waits if a freeze window is open: the step that would come next is not taken.
    pub(super) fn freeze(&mut self, world: &mut World<'_>) -> bool {
        let Some(freeze) = self.frozen(world.now.wall) else { return false };
        let Freeze { name, to, ends, .. } = freeze.clone();
        if world.timers.at(&Timer::Thaw).is_none() {
            let left = to.since(world.now.wall).min(LOOK_AGAIN);
            world.timers.arm(Timer::Thaw, world.now.mono + left);
        }
        self.paused = Some(PauseReason::Frozen { name, until: to, ends });
        true
    }

    /// Takes the step that a freeze held up, once no window is open any more. False if nothing was held up, or still
    /// is.
    pub(super) fn thaw(&mut self, world: &mut World<'_>) -> bool {
        if !matches!(self.paused, Some(PauseReason::Frozen { .. })) || self.freeze(world) {
            return false;
        }
        self.paused = None;
        world.timers.disarm(&Timer::Thaw);
        match self.state {
            State::Progressing { phase, step: Step::Held } => self.pass(phase, world),
            State::Completed => self.committing = true,
            // Nothing that was to be taken up again: the conditions of the step are looked at by themselves.
            State::Preflight
            | State::Progressing { .. }
            | State::Validating { .. }
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => {}
        }
        true
    }

    /// Leaves a phase that was judged well. In a freeze the next one has to wait; the validation moves nobody.
    pub(super) fn leave(&mut self, phase: usize, world: &mut World<'_>) {
        let moves = phase + 1 < self.plan.phases.len();
        if moves && self.freeze(world) {
            self.state = State::Progressing { phase, step: Step::Held };
        } else {
            self.pass(phase, world);
        }
    }

    /// Refuses what a person asks for in a freeze, unless that person answers for it. From then on freeze windows do
    /// not count for this rollout.
    pub(super) fn heed_freeze(
        &mut self,
        verb: VerbKind,
        effect: Effect,
        wall: UnixMillis,
        answers: Option<(String, String)>,
    ) -> Result<(), Refusal> {
        let forward = match verb {
            VerbKind::Resume | VerbKind::Promote | VerbKind::Approve | VerbKind::Retry => true,
            VerbKind::Pause | VerbKind::Reject | VerbKind::Rollback | VerbKind::Commit => false,
        };
        let waits = matches!(self.paused, Some(PauseReason::Frozen { .. })) || verb == VerbKind::Promote;
        match (effect, answers) {
            (Effect::Refuse(_), _) => Ok(()),
            (_, Some(_)) if !forward => Err(Refusal::NeverFrozen(verb.as_str())),
            (_, Some((by, why))) => {
                self.freeze_override.get_or_insert(FreezeOverride { by, why });
                Ok(())
            }
            (Effect::Resume | Effect::JudgeNow | Effect::GoOn, None) if waits => match self.frozen(wall) {
                Some(Freeze { name, ends, .. }) => {
                    let (name, ends) = (name.clone(), ends.clone());
                    Err(Refusal::Frozen { what: verb.as_str(), name, ends })
                }
                None => Ok(()),
            },
            (
                Effect::Pause
                | Effect::Resume
                | Effect::JudgeNow
                | Effect::GoOn
                | Effect::Rollback
                | Effect::Commit
                | Effect::TryGreens
                | Effect::StartAgain
                | Effect::Approve
                | Effect::Reject
                | Effect::Nothing,
                None,
            ) => Ok(()),
        }
    }

    pub(super) fn open_window(&self, world: &mut World<'_>) {
        if let Some(window) = self.plan.window {
            world.timers.arm(Timer::Window, world.now.mono + window);
        }
    }

    /// The window closes. What is not done by now waits for a person, or goes back.
    pub(super) fn window_due(&mut self, world: &mut World<'_>) {
        match self.state {
            State::Preflight | State::Progressing { .. } | State::Validating { .. } => {}
            State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => return,
        }
        self.window_closed = Some(world.now.wall);
        match (self.plan.at_end, &self.paused) {
            (AtEnd::Rollback, _) => {
                let window = self.plan.window.unwrap_or_default();
                self.roll_back(Trigger::WindowClosed { window }, world);
            }
            (AtEnd::Pause, None | Some(PauseReason::Frozen { .. })) => self.paused = Some(PauseReason::WindowClosed),
            // It waits for a person already, and for something that has to be answered first.
            (AtEnd::Pause, Some(_)) => {}
        }
    }

    /// What is planned yet: bakes, validation, and a part of the time to move agents that goes by batches.
    pub fn still_planned(&self, stage_left: Option<Millis>) -> Millis {
        let left = stage_left.unwrap_or_default();
        let (phases, batches_left, this) = match self.state {
            State::Preflight => (&self.plan.phases[..], self.batches(0), left),
            State::Progressing { phase, step } => {
                let planned = &self.plan.phases[phase];
                let half = planned.bake.compressed(2.0);
                let second = |batch: usize| planned.second_half.is_some_and(|second| batch >= second);
                let to_move = |batch: usize| planned.batches.len().saturating_sub(batch);
                let (batches, this) = match step {
                    Step::AwaitingApproval => (to_move(0), planned.bake),
                    Step::Warming { batch } | Step::CuttingOver { batch } => {
                        (to_move(batch), if second(batch) { half } else { planned.bake })
                    }
                    Step::Halfway { next } => (to_move(next), left + half),
                    Step::Baking { .. } => (0, left),
                    Step::Gate { .. } | Step::Held => (0, Millis::ZERO),
                };
                (&self.plan.phases[phase + 1..], self.batches(phase + 1) + batches, this)
            }
            State::Validating { .. } => return left,
            State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => return Millis::ZERO,
        };
        let bakes = phases.iter().fold(Millis::ZERO, |sum, phase| sum + phase.bake);
        let moving = self.plan.outlook.schedule.moving.0 * batches_left as u64 / self.batches(0).max(1) as u64;
        this + bakes + Millis(moving) + self.plan.validation
    }

    /// Batches of this phase and those after it.
    fn batches(&self, from: usize) -> usize {
        self.plan.phases.iter().skip(from).map(|phase| phase.batches.len()).sum()
    }

    /// How long its window is open yet; none where it has none, or nothing is left to be done in it.
    pub(super) fn window_left(&self, closes: Option<Nanos>, now: Now) -> Option<Millis> {
        self.plan.window?;
        match self.state {
            State::Preflight | State::Progressing { .. } | State::Validating { .. } => {
                Some(closes.map_or(Millis::ZERO, |at| at.since(now.mono)))
            }
            State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => None,
        }
    }
}
