//! The machine that the reactor runs and the simulation attacks.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    command::{Command, Window},
    event::{Event, Verb, VerbKind},
    fleet::{Fleet, Unasked},
    once::{Done, Once},
    progress::World,
    seat::Is,
    state::{Again, PauseReason, Rollout, State, Trigger},
    timers::{Timer, Timers},
    verbs::{Effect, effect},
};
use crate::{
    id::{AgentName, AgentType, Generation, InstanceId, RevisionId, RolloutId, Side},
    plan::Plan,
    spec::unit::Size,
    time::{Nanos, Now},
};

/// Fleet and rollouts of one state directory. Equal event histories give equal controllers.
///
/// Written down it is a snapshot: what it has taken need not be replayed. A field that is added needs a default, or the
/// snapshots of earlier builds cannot be read; [`Controller::FORM`] says when an old form would be misread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Controller {
    pub(crate) fleet: Fleet,
    pub(crate) timers: Timers,
    pub(crate) rollouts: Vec<Rollout>,
    /// What people asked for, by the keys under which they did.
    #[serde(default)]
    done: Done,
    last: Now,
}

/// Why an event was not accepted. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("rollout {0} is still under way; wait for it, or roll it back first")]
    RolloutActive(RolloutId),
    #[error("rollout {0} is completed but not committed; commit it or roll it back first")]
    NotCommitted(RolloutId),
    #[error("there is no rollout {0}; `bellwether rollout list` shows which there are")]
    NoSuchRollout(RolloutId),
    #[error("the plan moves agent {0} from a revision that it does not run; plan again")]
    StalePlan(AgentName),
    #[error("the plan has no phase with an agent in it")]
    EmptyPlan,
    #[error("cannot {verb} rollout {rollout} while it is {state}: {why}")]
    NotNow { verb: &'static str, rollout: RolloutId, state: &'static str, why: &'static str },
    #[error("the rollout moves no {0}; `bellwether rollout show --agents` lists whom it moves")]
    NoSuchPart(String),
    #[error("{0} is for a whole rollout; only a rollback can be of a part")]
    NotInPart(&'static str),
    #[error("a fleet is declared already in this state directory")]
    Declared,
    #[error(
        "the disk of the state directory has no room for the way back: {} have to be held back for it, and {} are free; \
         make room there, and ask again",
        Size(*.needed),
        Size(*.free)
    )]
    NoRoom { needed: u64, free: u64 },
    #[error("{0}; make room on the disk of the state directory, and ask again")]
    CannotRecord(String),
    #[error(
        "cannot {what} in the freeze {name:?}: it ends {ends}; wait, or say why it cannot with --override-freeze REASON"
    )]
    Frozen { what: &'static str, name: String, ends: String },
    #[error("{0} is never held up by a freeze; leave out the override")]
    NeverFrozen(&'static str),
    #[error(
        "cannot {verb} rollout {rollout}: it has moved on since it was looked at, from {expected} to {now}; look at it \
         with `bellwether rollout show {rollout}`, and ask again if that is still what you want"
    )]
    Moved { verb: &'static str, rollout: RolloutId, expected: String, now: String },
    #[error(
        "{by} cannot approve rollout {rollout}: {by} started it, and the phase asks for another person; have somebody \
         else run `bellwether approve {rollout}`"
    )]
    OwnApproval { rollout: RolloutId, by: String },
    /// Not an error to who asks: the first answer was lost.
    #[error("this was asked for under the same key, and done, with rollout {0}")]
    Repeated(RolloutId),
    #[error("the idempotency key {0} stands for another request; make up a key for each thing that is asked for")]
    KeyReused(String),
}

impl Controller {
    /// Takes one event. An `Err` changes nothing and must not be journaled.
    pub fn step(&mut self, now: Now, event: Event) -> Result<Vec<Command>, Refusal> {
        let mut out = Vec::new();
        let before = self.rollouts.last().map(|rollout| (rollout.id, rollout.state, rollout.paused.clone()));
        self.take(now, event, &mut out)?;
        if !self.fleet.is_blind() {
            self.decide(now, &mut out);
        }
        if let (Some((id, state, paused)), Some(rollout)) = (before, self.rollouts.last_mut())
            && rollout.id == id
        {
            rollout.turns += u32::from(rollout.state != state);
            rollout.pauses += u32::from(rollout.paused.is_some() && rollout.paused != paused);
        }
        self.last = now;
        Ok(out)
    }

    /// Of snapshots. Grows when a build would misread what an earlier one wrote, or the other way round.
    pub const FORM: u32 = 1;

    /// When to send a [`Event::Tick`], on the monotonic clock.
    pub fn next_timeout(&self) -> Option<Nanos> {
        self.timers.next()
    }

    /// The rollout that is under way or was the last.
    pub fn rollout(&self) -> Option<&Rollout> {
        self.rollouts.last()
    }

    pub fn rollouts(&self) -> &[Rollout] {
        &self.rollouts
    }

    /// The number that the next instance gets.
    pub fn next_instance(&self) -> InstanceId {
        self.fleet.next_instance()
    }

    /// The rollout whose traffic goes back to blue, and may do so unrecorded.
    pub fn may_act_unrecorded(&self) -> Option<RolloutId> {
        let rollout = self.rollouts.last()?;
        (rollout.authorised && rollout.is_going_back()).then_some(rollout.id)
    }

    pub fn generation(&self) -> Generation {
        self.fleet.generation
    }

    /// Agents, and whether blue or green serves each.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentName, Option<Side>)> {
        self.fleet.agents.iter().map(|(name, agent)| (name, agent.serving()))
    }

    pub fn agents_with_types(&self) -> impl Iterator<Item = (&AgentName, &AgentType)> {
        self.fleet.agents.iter().map(|(name, agent)| (name, &agent.agent_type))
    }

    /// Whether a request of this key is still to be done: refuses what was done under it, and what it is not for.
    pub fn check_key(&self, once: Option<&Once>) -> Result<(), Refusal> {
        self.done.is_first(once)
    }

    /// The revision that the agent's blue side runs.
    pub fn blue_revision(&self, agent: &AgentName) -> Option<&RevisionId> {
        self.fleet.agents.get(agent).map(|agent| &agent.blue.revision)
    }

    /// The agent and side that an instance sits on.
    pub fn seat_of(&self, instance: InstanceId) -> Option<(&AgentName, Side)> {
        self.fleet.seat_of(instance)
    }

    /// Who sits where.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceId, &AgentName, Side)> {
        self.fleet.instances()
    }

    pub fn is_ready(&self, instance: InstanceId) -> bool {
        self.what_is(instance).is_some_and(|is| is.ready() == Some(instance))
    }

    /// It has booted: it is ready, or has only to answer a synthetic task.
    pub fn has_begun(&self, instance: InstanceId) -> bool {
        self.is_ready(instance) || self.what_is(instance) == Some(Is::Proving { instance })
    }

    fn what_is(&self, instance: InstanceId) -> Option<Is> {
        let (agent, side) = self.fleet.seat_of(instance)?;
        Some(self.fleet.agents.get(agent)?.seat(side)?.is)
    }

    /// Instances that are ready and have a health endpoint, whether they serve or stand by.
    pub fn ready_with_health(&self) -> impl Iterator<Item = (InstanceId, &AgentName, Side)> {
        self.fleet.agents.iter().flat_map(|(name, agent)| {
            let seats = std::iter::once(&agent.blue).chain(&agent.green).filter(|seat| seat.http);
            seats.filter_map(move |seat| Some((seat.is.ready()?, name, seat.side)))
        })
    }

    /// Agents that no ready instance serves.
    pub fn without_ready_instance(&self) -> usize {
        self.fleet.agents.values().filter(|a| !a.served_by(Side::Blue) && !a.served_by(Side::Green)).count()
    }

    pub fn is_declared(&self) -> bool {
        !self.fleet.agents.is_empty()
    }

    fn decide(&mut self, now: Now, out: &mut Vec<Command>) {
        self.advance(now, out);
        self.fleet.reconcile(&mut self.timers, out);
        // What the fleet brings about by itself can be what the rollout waits for.
        while self.advance(now, out) {
            self.fleet.reconcile(&mut self.timers, out);
        }
    }

    fn advance(&mut self, now: Now, out: &mut Vec<Command>) -> bool {
        let world = &mut World { now, fleet: &mut self.fleet, timers: &mut self.timers, out };
        self.rollouts.last_mut().is_some_and(|rollout| rollout.advance(world))
    }

    fn take(&mut self, now: Now, event: Event, out: &mut Vec<Command>) -> Result<(), Refusal> {
        let timers = &mut self.timers;
        match event {
            Event::FleetDeclared { agents } => {
                if !self.fleet.agents.is_empty() {
                    return Err(Refusal::Declared);
                }
                self.fleet.declare(agents);
            }
            Event::Restarted => {
                timers.rebase(self.last, now);
                self.fleet.close_eyes();
            }
            Event::Restored { next } => {
                timers.rebase(self.last, now);
                self.fleet.forget_instances(next, timers);
                self.fleet.close_eyes();
            }
            Event::Converge { running, gateway } => {
                self.fleet.converge(now, &running, &gateway, timers, out);
                if let Some(rollout) = self.rollouts.last() {
                    rollout.ask_again(&mut World { now, fleet: &mut self.fleet, timers, out });
                }
            }
            Event::Enrolled { instances } => {
                for instance in instances {
                    self.fleet.enrolled(now, instance, timers, out);
                }
            }
            Event::Started { instance } => self.fleet.started(instance, out),
            Event::StartFailed { instance, reason: _ } => self.instance_ended(now, instance, false, out),
            Event::Exited { instance, exit } => self.instance_ended(now, instance, exit.out_of_memory, out),
            Event::Frozen { instance } => self.fleet.frozen(instance),
            Event::Thawed { instance } => self.fleet.thawed(instance),
            Event::Polled { instance } => self.fleet.polled(now, instance, timers, out),
            Event::Healthy { instance } => self.fleet.healthy(now, instance, timers, out),
            Event::TriedOut { instance, fault } => self.fleet.tried_out(now, instance, fault, timers),
            Event::CutOver { generation } => self.fleet.cut_over(now, generation, timers, out),
            Event::CutOverStale { standing } => self.fleet.stale(standing, out),
            Event::FellBack { agent, from, to, generation } => {
                self.fleet.fell_back(now, &agent, (from, to), generation, timers);
            }
            Event::Empty { instance, revoked: _ } => self.fleet.empty(instance, timers),
            Event::WindowOpened { rollout, after_second } => self.window_opened(rollout, after_second),
            Event::BaselineMeasured { rollout, until_second, refused } => {
                if let Some(current) = self.rollouts.last_mut().filter(|r| r.id == rollout) {
                    let world = &mut World { now, fleet: &mut self.fleet, timers, out };
                    current.baseline_measured(until_second, refused, world);
                }
            }
            Event::Judged { rollout, look, report } => {
                if let Some(current) = self.rollouts.last_mut().filter(|r| r.id == rollout) {
                    current.judged(look, report, &mut World { now, fleet: &mut self.fleet, timers, out });
                }
            }
            Event::Alarm { rollout, alarm } => {
                if let Some(current) = self.rollouts.last_mut().filter(|r| r.id == rollout) {
                    current.alarmed(*alarm, &mut World { now, fleet: &mut self.fleet, timers, out });
                }
            }
            Event::RollbackAuthorised { rollout, reserve_bytes: _ } => {
                if let Some(current) = self.rollouts.last_mut().filter(|r| r.id == rollout) {
                    current.authorised = true;
                }
            }
            Event::DiskFull { why } => {
                if let Some(current) = self.rollouts.last_mut() {
                    current.disk_full(why);
                }
            }
            Event::RollbackFound { rollout, next, why } => {
                self.fleet.begin_numbers_at(next);
                if let Some(current) = self.rollouts.last_mut().filter(|r| r.id == rollout) {
                    current.found_rolled_back(why, &mut World { now, fleet: &mut self.fleet, timers, out });
                }
            }
            Event::RollbackChecked { rollout, fault } => {
                if let Some(current) = self.rollouts.last_mut().filter(|r| r.id == rollout) {
                    current.checked(fault);
                }
            }
            Event::Planned { plan, by, again, once } => {
                self.done.is_first(once.as_ref())?;
                let started = self.start(now, *plan, by, again, out)?;
                self.done.remember(once, started);
            }
            Event::Verb(mut verb) => {
                let (rollout, once): (RolloutId, Option<Once>) = (verb.rollout, verb.once.take());
                self.done.is_first(once.as_ref())?;
                self.verb(now, verb, out)?;
                self.done.remember(once, rollout);
            }
            Event::ClockJumped { jump } => {
                if let Some(current) = self.rollouts.last_mut() {
                    current.clock_jumped(now.wall, jump);
                }
            }
            Event::Tick => self.tick(now, out),
        }
        Ok(())
    }

    fn start(
        &mut self,
        now: Now,
        plan: Plan,
        by: String,
        again: Option<Again>,
        out: &mut Vec<Command>,
    ) -> Result<RolloutId, Refusal> {
        if let Some(again) = &again {
            self.may_start_again(again)?;
        }
        if let Some(last) = self.rollouts.last() {
            match last.state {
                State::Completed => return Err(Refusal::NotCommitted(last.id)),
                state if !state.is_over() => return Err(Refusal::RolloutActive(last.id)),
                _ => {}
            }
        }
        if plan.phases.is_empty() || plan.phases.iter().any(|p| p.batches.iter().all(|b| b.agents.is_empty())) {
            return Err(Refusal::EmptyPlan);
        }
        if let Some(freeze) = plan.freeze_at(now.wall).filter(|_| plan.freeze_override.is_none()) {
            let (name, ends) = (freeze.name.clone(), freeze.ends.clone());
            return Err(Refusal::Frozen { what: "start a rollout", name, ends });
        }
        let mut seen = BTreeSet::new();
        for planned in plan.agents() {
            let runs = self.fleet.agents.get(&planned.agent).map(|agent| &agent.blue.revision);
            if runs != Some(&planned.from) || !seen.insert(&planned.agent) {
                return Err(Refusal::StalePlan(planned.agent.clone()));
            }
        }
        let id = RolloutId(self.rollouts.len() as u64 + 1);
        self.fleet.limit(&plan.budget);
        let rollout = Rollout { again, ..Rollout::new(id, by, plan, now.wall) };
        rollout.begin(&mut World { now, fleet: &mut self.fleet, timers: &mut self.timers, out });
        self.rollouts.push(rollout);
        Ok(id)
    }

    /// A rollout is tried again where it came to nothing, once: from then on there is a later one.
    fn may_start_again(&self, again: &Again) -> Result<(), Refusal> {
        let verb = Verb { expect: again.expect.clone(), ..Verb::new(VerbKind::Retry, again.rollout, "", "") };
        let current = self.addressed(&verb)?;
        let why = match effect(current.state, current.paused.as_ref(), VerbKind::Retry) {
            Effect::StartAgain => return Ok(()),
            Effect::Refuse(why) => why,
            Effect::Pause
            | Effect::Resume
            | Effect::JudgeNow
            | Effect::GoOn
            | Effect::Rollback
            | Effect::Commit
            | Effect::TryGreens
            | Effect::Approve
            | Effect::Reject
            | Effect::Nothing => "it is not over, so there is nothing to start again; `retry` it as it is",
        };
        Err(not_now(current, VerbKind::Retry, why))
    }

    /// The rollout that a verb is for, if the verb still means what it meant to whoever asked.
    fn addressed(&self, verb: &Verb) -> Result<&Rollout, Refusal> {
        let Some(current) = self.rollouts.iter().find(|r| r.id == verb.rollout) else {
            return Err(Refusal::NoSuchRollout(verb.rollout));
        };
        let superseded = match verb.verb {
            VerbKind::Rollback => Some("a later rollout was started since; roll that one back"),
            VerbKind::Retry => Some("a later rollout was started since; `bellwether rollout show` shows it"),
            VerbKind::Pause
            | VerbKind::Resume
            | VerbKind::Promote
            | VerbKind::Approve
            | VerbKind::Reject
            | VerbKind::Commit => None,
        };
        if let Some(why) = superseded.filter(|_| verb.rollout.0 != self.rollouts.len() as u64) {
            return Err(not_now(current, verb.verb, why));
        }
        let now = current.position();
        match &verb.expect {
            Some(expected) if !expected.still_means(verb.verb, &now, current.state) => Err(Refusal::Moved {
                verb: verb.verb.as_str(),
                rollout: verb.rollout,
                expected: expected.words(),
                now: now.words(),
            }),
            Some(_) | None => Ok(current),
        }
    }

    fn verb(&mut self, now: Now, verb: Verb, out: &mut Vec<Command>) -> Result<(), Refusal> {
        if verb.only.is_some() && verb.verb != VerbKind::Rollback {
            return Err(Refusal::NotInPart(verb.verb.as_str()));
        }
        let id = self.addressed(&verb)?.id;
        let Verb { verb, rollout, by, reason, only, override_freeze, expect: _, once: _ } = verb;
        let Some(current) = self.rollouts.iter_mut().find(|r| r.id == id) else {
            return Err(Refusal::NoSuchRollout(rollout));
        };
        let effect = effect(current.state, current.paused.as_ref(), verb);
        current.heed_freeze(verb, effect, now.wall, override_freeze.map(|why| (by.clone(), why)))?;
        let world = &mut World { now, fleet: &mut self.fleet, timers: &mut self.timers, out };
        match effect {
            Effect::Pause => current.paused = Some(PauseReason::Asked { by, why: reason }),
            Effect::Resume => current.resume(world),
            Effect::JudgeNow => current.judge_now(world),
            Effect::GoOn => current.go_on(world),
            Effect::Rollback => {
                let trigger = Trigger::Operator { by, why: reason };
                match only {
                    None => current.roll_back(trigger, world),
                    Some(only) => {
                        let agents = current.part(&only, world.fleet).ok_or(Refusal::NoSuchPart(only.to_string()))?;
                        current.retreat(trigger, agents, world);
                    }
                }
            }
            Effect::Commit => current.committing = true,
            Effect::TryGreens => {
                if !current.try_greens(world) {
                    const NONE: &str = "no green waits to be started again; `bellwether rollout show --agents` shows \
                                        what each one waits for";
                    return Err(not_now(current, verb, NONE));
                }
            }
            Effect::StartAgain => {
                // Its plan is made by whoever sends `Planned`; this came while the rollout was just ending.
                return Err(not_now(current, verb, "it has ended at this moment; ask once more to start it again"));
            }
            Effect::Approve => current.approve(by, reason, world)?,
            Effect::Reject => current.reject(by, &reason, world),
            Effect::Nothing => {}
            Effect::Refuse(why) => return Err(not_now(current, verb, why)),
        }
        Ok(())
    }

    fn window_opened(&mut self, rollout: RolloutId, after_second: u64) {
        let Some(current) = self.rollouts.last_mut().filter(|r| r.id == rollout) else { return };
        if current.state == State::Preflight {
            current.baseline_after_second.get_or_insert(after_second);
        } else if let Some(record) = current.phase_mut().filter(|record| record.bake_began.is_some()) {
            // An answer for the phase before, given twice, must not open the window of one that has not begun to bake.
            record.after_second.get_or_insert(after_second);
        }
    }

    fn instance_ended(&mut self, now: Now, instance: InstanceId, out_of_memory: bool, out: &mut Vec<Command>) {
        let unasked = self.fleet.ended(now, instance, &mut self.timers, out);
        let Some(Unasked { agent, side: Side::Green, exits, in_a_row, first, fault }) = unasked else { return };
        let Some(rollout) = self.rollouts.last_mut() else { return };
        let limit = rollout.plan.crash_loop;
        let looping = match rollout.state {
            State::Progressing { .. } | State::Validating { .. } => exits >= limit,
            // Held for hours: what ended now and then over that time does not loop.
            State::Completed => in_a_row >= limit,
            State::Preflight
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => return,
        };
        if rollout.held_back().contains(&agent) {
            return;
        }
        let world = &mut World { now, fleet: &mut self.fleet, timers: &mut self.timers, out };
        if out_of_memory {
            rollout.failed_hard(Trigger::OutOfMemory { agent, at: now.wall }, world);
        } else if looping {
            rollout.failed_hard(Trigger::CrashLoop { agent, exits, first, fault }, world);
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Command>) {
        for timer in self.timers.take_due(now.mono) {
            match timer {
                Timer::Stage | Timer::Window => {
                    let Some(rollout) = self.rollouts.last_mut() else { continue };
                    let world = &mut World { now, fleet: &mut self.fleet, timers: &mut self.timers, out };
                    if timer == Timer::Stage { rollout.stage_due(world) } else { rollout.window_due(world) }
                }
                // That time has passed is all there is to it: the step looks at the clock itself.
                Timer::Thaw => {}
                Timer::Boot(_) | Timer::TryOut(_) | Timer::BackOff(..) | Timer::Drain(_) => {
                    self.fleet.due(now, &timer, &mut self.timers, out);
                }
            }
        }
    }
}

fn not_now(rollout: &Rollout, verb: VerbKind, why: &'static str) -> Refusal {
    Refusal::NotNow { verb: verb.as_str(), rollout: rollout.id, state: rollout.state.name(), why }
}

impl Command {
    /// Whether the command only asks for a look or a judgement and touches nothing.
    pub fn is_question(&self) -> bool {
        match self {
            Self::Observe
            | Self::OpenWindow { .. }
            | Self::MeasureBaseline { .. }
            | Self::Judge { .. }
            | Self::CheckBlue { .. } => true,
            Self::Enrol { .. }
            | Self::Start { .. }
            | Self::Stop { .. }
            | Self::Freeze { .. }
            | Self::Thaw { .. }
            | Self::Probe { .. }
            | Self::TryOut { .. }
            | Self::CutOver { .. }
            | Self::Lost { .. }
            | Self::Retire { .. }
            | Self::Settle { .. } => false,
        }
    }
}

impl Window {
    pub fn name(self, plan: &Plan) -> String {
        match self {
            Self::Baseline => "baseline".into(),
            Self::Phase(phase) => plan.phases.get(phase).map_or_else(String::new, |p| p.name.to_string()),
            Self::Validation => "validation".into(),
        }
    }
}
