//! What a study of somebody's own fleet needs of the world besides: a revision that is sick, the real triggers, and an
//! account of what the time went to.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_core::{
    id::{AgentName, InstanceId, Side},
    observation::Second,
    rollout::{Event, PauseReason, Retreat, RollbackStep, Rollout, State, Step},
    spec::Delivery,
    time::{Millis, Nanos, UnixMillis},
    traffic::Report,
    watch::{InstanceUsage, UsageBeat, Watch, WatchSetup},
};

use super::{Happening, World};
use crate::{
    evidence::Evidence,
    referee::Violation,
    simulate::{Ending, Sickness, Spent, Timeline},
    watched::Fault,
};

#[derive(Default)]
pub(crate) struct Studied {
    pub(crate) timeline: Timeline,
    pub(crate) began: Option<Nanos>,
    /// When the last stage was over that is judged, or the way back.
    pub(crate) ended: Option<Nanos>,
    pub(crate) tasks_failed: u64,
    /// By the bound of the queue.
    pub(crate) tasks_refused: u64,
    watch: Option<Box<Watch>>,
    /// Instances that do nothing more, and those that leak, since when.
    hung: BTreeMap<InstanceId, Nanos>,
    leaking: BTreeMap<InstanceId, Nanos>,
    crashing: BTreeSet<InstanceId>,
}

/// What an instance uses of what it is given room for, and how often that is measured.
const USED: (u64, u64) = (4, 5);
const BEAT_S: u64 = 5;
/// Enough that no trigger fires over it.
const CPUS: u32 = 64;
/// A deadline is no use to a run that faults go on in: twice what the plan gives it, and this.
const PATIENCE: Millis = Millis::from_mins(24 * 60);

impl World {
    pub(crate) fn study(&mut self) -> &mut Studied {
        &mut self.study
    }

    /// Called whenever the machine has taken something.
    pub(super) fn follow_study(&mut self) {
        if !self.scenario.studied {
            return;
        }
        let now = self.now();
        let Some(rollout) = self.shell.machine.rollout() else { return };
        let state = rollout.state;
        let on = self.spends(rollout);
        self.study.timeline.note(now, on);
        self.study.began.get_or_insert(now);
        if self.study.watch.is_none() && rollout.baseline_until_second.is_some() && !state.is_over() {
            self.study.watch = self.watch(rollout).map(Box::new);
            let number = Evidence::last_second(now) + 1;
            self.agenda.at(Nanos(number * 1_000_000_000), Happening::Second { number });
        }
        if state == State::Completed && self.study.ended.is_none() {
            self.study.ended = Some(now);
            self.agenda.at(now, Happening::Commit);
        }
        if state.is_over() {
            // What follows is not about this rollout: the world comes to rest.
            self.study.ended.get_or_insert(now);
            self.faults_until = self.faults_until.min(now);
        }
    }

    /// Nobody is there who would decide: where the rollout waits for a person, the run is over.
    pub(crate) fn stops(&mut self) -> Option<Ending> {
        let rollout = self.shell.machine.rollout()?;
        let retreating = rollout.retreats.iter().any(Retreat::is_under_way);
        let waits = match rollout.state {
            State::Progressing { step: Step::AwaitingApproval, .. } => true,
            State::Progressing { step: Step::Held | Step::Warming { .. }, .. }
            | State::Validating { judging: false } => rollout.paused.is_some() && !retreating,
            State::NeedsAttention => return Some(Ending::NeedsAttention),
            State::Progressing {
                step: Step::CuttingOver { .. } | Step::Halfway { .. } | Step::Baking { .. } | Step::Gate { .. },
                ..
            }
            | State::Preflight
            | State::Validating { judging: true }
            | State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::PreflightFailed => false,
        };
        // While it validates, what paused it before goes on to be judged.
        let judged_first = matches!(rollout.state, State::Validating { .. })
            && !matches!(rollout.paused, Some(PauseReason::ThinEvidence));
        if waits && !judged_first {
            return Some(Ending::Paused);
        }
        let most = self.plan.outlook.schedule.at_most();
        let late = self.study.began.is_some_and(|began| self.now() > began + most + most + PATIENCE);
        (late && !rollout.state.is_over()).then_some(Ending::Unfinished)
    }

    fn spends(&self, rollout: &Rollout) -> Option<(Option<usize>, Spent)> {
        Some(match rollout.state {
            State::Preflight => (None, Spent::Baseline),
            State::Progressing { phase, step } => (
                Some(phase),
                match step {
                    Step::Warming { batch } => self.warming(rollout, phase, batch),
                    Step::CuttingOver { .. } => Spent::Move,
                    Step::Halfway { .. } | Step::Baking { look: 1 } => Spent::Bake,
                    Step::Baking { .. } => Spent::Extension,
                    Step::Gate { .. } => Spent::Gate,
                    Step::Held | Step::AwaitingApproval => Spent::Held,
                },
            ),
            State::Validating { .. } => (None, Spent::Validation),
            State::RollingBack { step: RollbackStep::Shift | RollbackStep::Swap | RollbackStep::Validate }
            | State::NeedsAttention => (None, Spent::RollingBack),
            State::Completed | State::Committed | State::RolledBack | State::PreflightFailed => return None,
        })
    }

    /// What the slowest green of the batch waits for.
    fn warming(&self, rollout: &Rollout, phase: usize, batch: usize) -> Spent {
        let Some(batch) = rollout.plan.phases.get(phase).and_then(|phase| phase.batches.get(batch)) else {
            return Spent::Boot;
        };
        let mut waited_for = Spent::TryOut;
        for planned in &batch.agents {
            let mut greens = self.driver.running().filter(|(_, process)| {
                process.side == Side::Green && process.agent == planned.agent && !process.stopping
            });
            match greens.next() {
                None => return Spent::Room,
                Some((instance, _)) if !self.shell.machine.has_begun(instance) => waited_for = Spent::Boot,
                Some(_) => {}
            }
        }
        waited_for
    }

    fn watch(&self, rollout: &Rollout) -> Option<Watch> {
        let baseline = self.evidence.baseline(rollout, 0)?.ok()?;
        let agents = self.spec.agents.iter();
        Some(Watch::new(&WatchSetup {
            agents: agents.clone().map(|a| (a.name.clone(), a.agent_type.clone(), a.revision.model.clone())).collect(),
            triggers: &self.plan.triggers,
            error_margin: self.plan.criteria.error_rise_max,
            baseline: &baseline,
            memory_capacity_bytes: self.plan.budget.capacity_bytes,
            memory_limits: agents.filter_map(|agent| Some((agent.name.clone(), agent.memory_limit_bytes?))).collect(),
        }))
    }

    /// A second is over, and the watch sees what was in it.
    pub(super) fn second(&mut self, number: u64) -> Result<(), Violation> {
        let Some(rollout) = self.shell.machine.rollout().filter(|rollout| !rollout.state.is_over()) else {
            return Ok(());
        };
        self.agenda.at(Nanos((number + 1) * 1_000_000_000), Happening::Second { number: number + 1 });
        let (id, phase) = (rollout.id, rollout.phases.len().saturating_sub(1));
        let at = self.shell.clock(self.now()).wall;
        let down = self.model_server_is_down();
        let hung = self.silences();
        let second: Second = self.evidence.second(number, at, &hung, down);
        let beat = number.is_multiple_of(BEAT_S).then(|| self.beat(at)).transpose()?;
        let Some(watch) = &mut self.study.watch else { return Ok(()) };
        let mut alarms = watch.second(&second, phase);
        if let Some(beat) = beat {
            alarms.extend(watch.usage(&beat));
        }
        for alarm in alarms {
            let event = Event::Alarm { rollout: id, alarm: Box::new(alarm) };
            self.at_controller(self.shell.life, None, event)?;
        }
        Ok(())
    }

    /// Measures everybody's memory; what leaks beyond its limit is ended for it.
    fn beat(&mut self, at: UnixMillis) -> Result<UsageBeat, Violation> {
        let now = self.now();
        let mut instances = Vec::new();
        let mut over = Vec::new();
        let (mut held, mut leaked) = (0, 0);
        for (instance, process) in self.driver.running() {
            let more = self.study.leaking.get(&instance).map_or(0, |since| self.leaked(now.since(*since)));
            let memory_bytes = process.bytes / USED.1 * USED.0 + more;
            let limit = self.spec.agent(&process.agent).and_then(|agent| agent.memory_limit_bytes);
            if limit.is_some_and(|limit| memory_bytes >= limit) {
                over.push(instance);
            }
            held += process.bytes;
            leaked += more;
            instances.push(InstanceUsage {
                agent: process.agent.clone(),
                side: process.side,
                memory_bytes,
                cpu_cores: Some(0.002),
            });
        }
        self.driver.memory_peak_bytes = self.driver.memory_peak_bytes.max(held + leaked);
        for instance in over {
            if let Some(process) = self.driver.get_mut(instance) {
                process.out_of_memory = true;
            }
            self.ends(instance, false, None)?;
        }
        Ok(UsageBeat { at, cpus: CPUS, instances })
    }

    fn leaked(&self, for_long: Millis) -> u64 {
        match self.sickness() {
            Some(Sickness::Leak { bytes_per_second, most }) => (bytes_per_second * (for_long.0 / 1000)).min(most),
            Some(Sickness::Seen(_) | Sickness::Crash { .. } | Sickness::Unfit) | None => 0,
        }
    }

    fn sickness(&self) -> Option<Sickness> {
        self.sick.as_ref().map(|(sickness, _)| *sickness)
    }

    /// What is wrong with this instance, if it is a sick green.
    pub(super) fn sickness_of(&self, instance: InstanceId) -> Option<Sickness> {
        let (sickness, agents) = self.sick.as_ref()?;
        let process = self.driver.get(instance)?;
        let green = process.side == Side::Green && agents.contains(&process.agent);
        green.then_some(*sickness)
    }

    /// The model server is gone for as long as one of the greens that it was to go with has traffic.
    pub(super) fn model_server_is_down(&self) -> bool {
        let Some((Sickness::Seen(Fault::ModelServerDown), agents)) = &self.sick else { return false };
        let on_green = |agent: &AgentName| {
            let active = self.gateway.traffic.route(agent).active;
            active.and_then(|active| self.driver.get(active)).is_some_and(|process| process.side == Side::Green)
        };
        self.faults() && agents.iter().any(on_green)
    }

    /// An instance got a task. Whether it will do anything with it.
    pub(super) fn sickens(&mut self, instance: InstanceId) -> bool {
        let now = self.now();
        match self.sickness_of(instance) {
            Some(Sickness::Seen(Fault::Hang)) => {
                self.study.hung.entry(instance).or_insert(now);
                false
            }
            Some(Sickness::Crash { after }) => {
                if self.study.crashing.insert(instance) {
                    self.agenda.after(after, Happening::Ends { instance, asked: false, killer: None });
                }
                true
            }
            Some(Sickness::Leak { .. }) => {
                self.study.leaking.entry(instance).or_insert(now);
                true
            }
            Some(Sickness::Seen(_) | Sickness::Unfit) | None => true,
        }
    }

    pub(super) fn hangs(&self, instance: InstanceId) -> bool {
        self.study.hung.contains_key(&instance)
    }

    /// What it takes longer than it should.
    pub(super) fn slowness(&self, instance: InstanceId, took: Millis) -> Millis {
        match self.sickness_of(instance) {
            Some(Sickness::Seen(Fault::Latency(times))) => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast that saturates")]
                let more = (took.as_secs_f64() * 1e3 * (times - 1.0)) as u64;
                Millis(more)
            }
            _ => Millis::ZERO,
        }
    }

    /// What becomes of a report that would have been good.
    pub(super) fn spoilt(&mut self, instance: InstanceId) -> Report {
        if self.model_server_is_down() {
            return Report::Failed;
        }
        match self.sickness_of(instance) {
            Some(Sickness::Seen(Fault::Errors(share))) if self.fate.hit(share) => Report::Failed,
            Some(Sickness::Seen(Fault::Swallow)) => Report::Completed { empty: true },
            _ => Report::Completed { empty: false },
        }
    }

    fn silences(&self) -> Vec<(AgentName, Side, u64)> {
        let now = self.now();
        let hung = self.study.hung.iter().filter_map(|(instance, since)| {
            let process = self.driver.get(*instance)?;
            let active = self.gateway.traffic.route(&process.agent).active == Some(*instance);
            active.then(|| (process.agent.clone(), process.side, now.since(*since).0))
        });
        hung.collect()
    }

    /// Blue works, as far as the watch can tell; without one it does.
    pub(super) fn fault_of_blue(&self) -> Option<String> {
        self.study.watch.as_ref()?.fault_of_blue()
    }

    /// How tasks reach this side of the agent.
    pub(super) fn delivery(&self, agent: &AgentName, side: Side) -> Delivery {
        let planned = self.plan.agents().find(|planned| planned.agent == *agent).filter(|_| side == Side::Green);
        match planned {
            Some(planned) => self.plan.delivery(planned),
            None => self.spec.agent(agent).map(|agent| agent.revision.delivery).unwrap_or_default(),
        }
    }
}
