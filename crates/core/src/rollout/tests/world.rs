//! A tiny world that answers each command at once, one message at a time, so that a test can stop between any two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    analysis::{Finding, GateReport, Judgement, Verdict},
    id::{AgentName, Generation, InstanceId, RevisionId, RolloutId, Side},
    plan::{Batch, Budget, Freeze, Need, Outlook, Plan, PlannedAgent, PlannedPhase, Standby},
    port::{
        driver::Exit,
        gateway::{GatewayView, InstanceView, Move, RouteView},
    },
    rollout::{Command, Controller, Event, FleetAgent, Refusal, Rollout, State, Verb, VerbKind},
    spec::{Approval, AtEnd, Criteria, Delivery, GatePolicy, Readiness, Require, ThinEvidence},
    time::{Millis, Nanos, Now, UnixMillis},
};

pub(super) struct World {
    pub(super) now: Now,
    pub(super) controller: Controller,
    pub(super) journal: Vec<(Now, Event)>,
    /// Commands and questions that were not carried out yet.
    pub(super) todo: VecDeque<Command>,
    /// Everything that was ever carried out.
    pub(super) done: Vec<Command>,
    /// What is waiting for its answer to be fed.
    answers: VecDeque<Event>,
    pub(super) gateway: Gateway,
    /// With side, because some tests treat green differently.
    pub(super) running: BTreeMap<InstanceId, (AgentName, Side)>,
    pub(super) verdicts: VecDeque<Verdict>,
    pub(super) baseline_refused: Option<String>,
    /// What the checks of a rollback find.
    pub(super) fault_of_blue: Option<String>,
    /// Agents whose greens die right after they started.
    pub(super) dying: BTreeSet<AgentName>,
    /// Agents whose instances of that side start but never ask for a task.
    pub(super) mute: BTreeSet<(AgentName, Side)>,
    /// What each answer to a synthetic task lacks, by agent, and never a good one comes.
    pub(super) unfit: BTreeMap<AgentName, &'static str>,
    /// Agents of which a green answered well.
    proven: BTreeSet<AgentName>,
    /// Agents whose greens never answer a synthetic task.
    pub(super) silent: BTreeSet<AgentName>,
    /// Retired instances hold on to their work until the drain timer is due.
    pub(super) clinging: bool,
    /// More may never run at once.
    pub(super) running_max: usize,
}

#[derive(Default)]
pub(super) struct Gateway {
    pub(super) generation: Generation,
    moves: Vec<Move>,
    pub(super) routes: BTreeMap<AgentName, Move>,
    pub(super) known: BTreeMap<InstanceId, AgentName>,
    pub(super) settled: BTreeSet<InstanceId>,
    holding: BTreeSet<InstanceId>,
    polled: BTreeSet<InstanceId>,
    /// Which have answered well. Forgotten when the gateway starts anew.
    pub(super) tried: BTreeSet<InstanceId>,
}

const BOOT: Millis = Millis::from_secs(20);
pub(super) const BAKE: Millis = Millis::from_mins(30);

impl World {
    /// Agents `a`, `b`, … whose blues serve.
    pub(super) fn new(agents: usize) -> Self {
        Self::draining(agents, Millis::from_secs(30))
    }

    /// The same, with so long for what a retired instance holds.
    pub(super) fn draining(agents: usize, drain: Millis) -> Self {
        let mut world = Self {
            now: Now { mono: Nanos(0), wall: UnixMillis(1_000_000) },
            controller: Controller::default(),
            journal: Vec::new(),
            todo: VecDeque::new(),
            done: Vec::new(),
            answers: VecDeque::new(),
            gateway: Gateway::default(),
            running: BTreeMap::new(),
            verdicts: VecDeque::new(),
            baseline_refused: None,
            fault_of_blue: None,
            dying: BTreeSet::new(),
            mute: BTreeSet::new(),
            unfit: BTreeMap::new(),
            silent: BTreeSet::new(),
            proven: BTreeSet::new(),
            clinging: false,
            running_max: usize::MAX,
        };
        let agents = names(agents).map(|name| FleetAgent {
            name,
            agent_type: "worker".into(),
            revision: revision(Side::Blue),
            http: false,
            delivery: Delivery::Pull,
            boot: BOOT,
            drain,
        });
        world.feed(Event::FleetDeclared { agents: agents.collect() }).unwrap();
        world.settle();
        world
    }

    /// The same with a rollout in two phases that has just been started.
    pub(super) fn rolling(agents: usize) -> Self {
        let mut world = Self::new(agents);
        world.start(plan(agents)).unwrap();
        world
    }

    pub(super) fn start(&mut self, plan: Plan) -> Result<(), Refusal> {
        self.feed(Event::start(plan, "ann"))
    }

    pub(super) fn rollout(&self) -> &Rollout {
        self.controller.rollout().unwrap()
    }

    pub(super) fn state(&self) -> State {
        self.rollout().state
    }

    pub(super) fn verb(&mut self, verb: VerbKind) -> Result<(), Refusal> {
        self.verb_by(verb, "ann")
    }

    pub(super) fn verb_by(&mut self, verb: VerbKind, by: &str) -> Result<(), Refusal> {
        let rollout = self.controller.rollout().map_or(RolloutId(1), |r| r.id);
        self.feed(Event::Verb(Verb::new(verb, rollout, by, "because")))
    }

    /// The same, answering for it in a freeze.
    pub(super) fn verb_over(&mut self, verb: VerbKind) -> Result<(), Refusal> {
        let rollout = self.rollout().id;
        let override_freeze = Some("hotfix".into());
        self.feed(Event::Verb(Verb { override_freeze, ..Verb::new(verb, rollout, "bob", "") }))
    }

    pub(super) fn feed(&mut self, event: Event) -> Result<(), Refusal> {
        let before = self.controller.generation();
        let commands = self.controller.step(self.now, event.clone())?;
        self.journal.push((self.now, event));
        assert!(self.controller.generation() >= before, "the generation went back");
        self.todo.extend(commands);
        Ok(())
    }

    /// One message: an answer reaches the controller, or a command reaches the world. False if there is none.
    pub(super) fn message(&mut self) -> bool {
        if let Some(answer) = self.answers.pop_front() {
            self.feed(answer).unwrap();
            return true;
        }
        let Some(command) = self.todo.pop_front() else { return false };
        self.done.push(command.clone());
        self.carry_out(command);
        true
    }

    /// All messages that are under way; no time passes.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.message() {
                return;
            }
        }
        panic!("the messages do not end");
    }

    /// The clock moves to the next deadline. False if there is none.
    pub(super) fn tick(&mut self) -> bool {
        let Some(due) = self.controller.next_timeout() else { return false };
        self.pass(due.since(self.now.mono) + Millis(1));
        self.gateway.holding.clear();
        self.feed(Event::Tick).unwrap();
        true
    }

    pub(super) fn pass(&mut self, span: Millis) {
        self.now = Now { mono: self.now.mono + span, wall: self.now.wall + span };
    }

    /// Message by message, and from deadline to deadline, until the condition holds.
    pub(super) fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) {
        for _ in 0..10_000 {
            if reached(self) {
                return;
            }
            if !self.message() && !self.tick() {
                break;
            }
        }
        panic!("never reached: {what}; it stands at {:?}", self.controller.rollout().map(|r| (r.state, &r.paused)));
    }

    pub(super) fn until_state(&mut self, state: State) {
        self.until(state.name(), |world| world.state() == state);
    }

    /// To where nothing moves any more.
    pub(super) fn finish(&mut self) -> State {
        self.until("the end", |world| {
            world.state().is_over() && world.todo.is_empty() && world.answers.is_empty() && world.is_calm()
        });
        self.state()
    }

    fn is_calm(&self) -> bool {
        self.controller.without_ready_instance() == 0
    }

    /// The controller's process is killed; another one starts on the journal.
    pub(super) fn crash(&mut self) {
        let replayed = replay(&self.journal);
        assert_eq!(replayed, self.controller, "a replay differs from what it replays");
        self.controller = replayed;
        self.forget_messages();
        self.now = Now { mono: Nanos(7), wall: self.now.wall + Millis(300) };
        self.feed(Event::Restarted).unwrap();
        self.converge();
    }

    pub(super) fn forget_messages(&mut self) {
        self.todo.clear();
        self.answers.clear();
    }

    /// Both links break: what was under way in either direction is gone.
    pub(super) fn lose_messages(&mut self) {
        // What the controller asks itself does not pass over a link.
        self.todo.retain(Command::is_question);
        self.answers.retain(|event| matches!(event, Event::Judged { .. } | Event::BaselineMeasured { .. }));
    }

    pub(super) fn converge(&mut self) {
        let running = self.running.keys().copied().collect();
        let gateway = self.gateway.view();
        self.feed(Event::Converge { running, gateway }).unwrap();
    }

    /// Its process ends by itself.
    pub(super) fn kill(&mut self, instance: InstanceId) {
        self.running.remove(&instance).expect("it runs");
        self.feed(Event::Exited { instance, exit: exit(false) }).unwrap();
    }

    pub(super) fn active(&self, agent: &str) -> InstanceId {
        self.gateway.routes[&AgentName::from(agent)].to
    }

    pub(super) fn sides(&self) -> Vec<Option<Side>> {
        self.controller.agents().map(|(_, side)| side).collect()
    }

    /// Every agent's traffic reaches a running instance of this revision.
    pub(super) fn assert_all_served_by(&self, side: Side) {
        let view = self.controller.view(self.now);
        for agent in &view.agents {
            let active = self.gateway.routes[&agent.name].to;
            assert_eq!(agent.active, Some(active));
            assert_eq!(agent.blue.revision, revision(side), "{}", agent.name);
            assert!(agent.green.is_none(), "{}", agent.name);
            assert!(self.running.contains_key(&active), "{} is served by a dead instance", agent.name);
        }
        assert_eq!(self.running.len(), view.agents.len(), "what runs: {:?}", self.running);
    }

    /// A green that has to be tried out has answered well, or one of its seat had before it.
    fn proven(&self, moves: &[Move]) -> bool {
        let asks = |agent: &AgentName| {
            let planned = self.controller.rollout().and_then(|r| r.plan.agents().find(|p| p.agent == *agent).cloned());
            planned.is_some_and(|planned| {
                let revision = self.rollout().plan.revisions.get(&planned.to);
                let delivery = revision.map_or(Delivery::Pull, |revision| revision.delivery);
                planned.ready != Readiness::Poll && delivery != Delivery::None
            })
        };
        moves.iter().all(|one| {
            let green = self.running.get(&one.to).is_some_and(|(_, side)| *side == Side::Green);
            !green || !asks(&one.agent) || self.proven.contains(&one.agent) || self.gateway.tried.contains(&one.to)
        })
    }

    fn carry_out(&mut self, command: Command) {
        let tell = match command {
            Command::Enrol { instance, agent, .. } => {
                self.gateway.known.insert(instance, agent);
                vec![Event::Enrolled { instances: vec![instance] }]
            }
            Command::Start { instance, agent, side, .. } => {
                self.running.insert(instance, (agent.clone(), side));
                assert!(self.running.len() <= self.running_max, "more runs than fits: {:?}", self.running);
                let started = Event::Started { instance };
                if side == Side::Green && self.dying.contains(&agent) {
                    self.running.remove(&instance);
                    vec![started, Event::Exited { instance, exit: exit(false) }]
                } else if self.mute.contains(&(agent, side)) {
                    vec![started]
                } else {
                    self.gateway.polled.insert(instance);
                    vec![started, Event::Polled { instance }]
                }
            }
            Command::Stop { instance, .. } => {
                self.running.remove(&instance);
                vec![Event::Exited { instance, exit: exit(true) }]
            }
            Command::Freeze { instance } => vec![Event::Frozen { instance }],
            Command::Thaw { instance } => vec![Event::Thawed { instance }],
            Command::Probe { instance } => vec![Event::Healthy { instance }],
            Command::TryOut { instance, fields } => {
                assert!(!fields.is_empty());
                let agent = self.gateway.known.get(&instance).cloned();
                match agent.filter(|agent| self.running.contains_key(&instance) && !self.silent.contains(agent)) {
                    None => Vec::new(),
                    Some(agent) => match self.unfit.get(&agent) {
                        Some(&fault) => vec![Event::TriedOut { instance, fault: Some(fault.into()) }],
                        None => {
                            self.gateway.tried.insert(instance);
                            self.proven.insert(agent);
                            // The first answer of a model that has to be loaded may well be no good.
                            let early = Event::TriedOut { instance, fault: Some("no result in time".into()) };
                            vec![early, Event::TriedOut { instance, fault: None }]
                        }
                    },
                }
            }
            Command::CutOver { generation, moves, .. } if !self.proven(&moves) => {
                panic!("generation {generation} moves an agent to a green that has answered nothing: {moves:?}")
            }
            Command::CutOver { generation, moves, .. } => self.gateway.cut_over(generation, moves, self.clinging),
            Command::Lost { instance, asked: _ } => self.gateway.lost(instance),
            Command::Retire { instances } => {
                for instance in instances {
                    self.gateway.known.remove(&instance);
                }
                Vec::new()
            }
            Command::Settle { instances } => {
                self.gateway.settled.extend(instances);
                Vec::new()
            }
            Command::Observe => {
                let running = self.running.keys().copied().collect();
                vec![Event::Converge { running, gateway: self.gateway.view() }]
            }
            Command::OpenWindow { rollout, .. } => vec![Event::WindowOpened { rollout, after_second: 1 }],
            Command::MeasureBaseline { rollout } => {
                vec![Event::BaselineMeasured { rollout, until_second: 9, refused: self.baseline_refused.clone() }]
            }
            Command::CheckBlue { rollout } => {
                vec![Event::RollbackChecked { rollout, fault: self.fault_of_blue.clone() }]
            }
            Command::Judge { rollout, look, .. } => {
                let verdict = self.verdicts.pop_front().unwrap_or(Verdict::Pass);
                vec![Event::Judged { rollout, look, report: report(verdict) }]
            }
        };
        self.answers.extend(tell);
    }
}

impl Gateway {
    pub(super) fn view(&self) -> GatewayView {
        let active = |instance| self.routes.values().any(|route| route.to == instance);
        GatewayView {
            generation: self.generation,
            routes: self
                .routes
                .values()
                .map(|m| RouteView {
                    agent: m.agent.clone(),
                    active: m.to,
                    fence: crate::id::Fence(1),
                    fallback: m.fallback,
                })
                .collect(),
            instances: self
                .known
                .iter()
                .map(|(&instance, agent)| InstanceView {
                    instance,
                    agent: agent.clone(),
                    polled: self.polled.contains(&instance),
                    tried: self.tried.contains(&instance),
                    heartbeat_age: None,
                    quiesced: !active(instance),
                    held: u64::from(self.holding.contains(&instance)),
                })
                .collect(),
            last_second: 1,
        }
    }

    fn cut_over(&mut self, generation: Generation, moves: Vec<Move>, clinging: bool) -> Vec<Event> {
        if generation == self.generation && moves == self.moves {
            return vec![Event::CutOver { generation }];
        }
        if generation != self.generation.next() {
            return vec![Event::CutOverStale { standing: self.generation }];
        }
        self.generation = generation;
        self.moves.clone_from(&moves);
        let mut tell = vec![Event::CutOver { generation }];
        for one in moves {
            assert!(self.known.contains_key(&one.to), "moved to an instance that was never enrolled");
            let retired = self.routes.insert(one.agent.clone(), one).map(|route| route.to);
            if clinging {
                self.holding.extend(retired);
            } else {
                tell.extend(retired.map(|instance| Event::Empty { instance, revoked: 0 }));
            }
        }
        tell
    }

    fn lost(&mut self, instance: InstanceId) -> Vec<Event> {
        let Some(route) = self.routes.values_mut().find(|route| route.to == instance) else { return Vec::new() };
        let Some(to) = route.fallback.take() else { return Vec::new() };
        route.to = to;
        self.generation = self.generation.next();
        self.moves.clear();
        let agent = route.agent.clone();
        vec![Event::FellBack { agent, from: instance, to, generation: self.generation }]
    }
}

pub(super) fn replay(journal: &[(Now, Event)]) -> Controller {
    let mut controller = Controller::default();
    for (now, event) in journal {
        controller.step(*now, event.clone()).expect("it was accepted before");
    }
    controller
}

pub(super) fn exit(asked: bool) -> Exit {
    Exit { code: Some(i32::from(!asked)), signal: None, out_of_memory: false, asked }
}

/// Two phases, batches of two: half of the agents, rounded down but at least one, are the canary.
pub(super) fn plan(agents: usize) -> Plan {
    plan_with(agents, Standby::Warm, ThinEvidence::Accept)
}

pub(super) fn plan_with(agents: usize, standby: Standby, thin_evidence: ThinEvidence) -> Plan {
    let all: Vec<AgentName> = names(agents).collect();
    let canary = (agents / 2).max(1);
    let phase = |name: &str, agents: &[AgentName], agents_cumulative| PlannedPhase {
        second_half: None,
        name: name.into(),
        batches: agents.chunks(2).map(|agents| batch(agents, standby)).collect(),
        bake: BAKE,
        gate: GatePolicy {
            require: Require::Guard,
            thin_evidence,
            tolerated_error_rise: 0.05,
            tolerated_latency_ratio: 2.0,
        },
        agents_cumulative,
        approval: Approval::None,
    };
    let mut phases = vec![phase("canary", &all[..canary], canary)];
    if canary < agents {
        phases.push(phase("full", &all[canary..], agents));
    }
    Plan {
        drill: false,
        triggers: crate::spec::Triggers::default(),
        fleet: "test".into(),
        release: "v2".into(),
        speed: 1.0,
        baseline: Millis::from_mins(60),
        phases,
        validation: Millis::from_mins(30),
        rollback_window: Millis::from_mins(60),
        extension: 1.5,
        crash_loop: 3,
        criteria: Criteria::default(),
        revisions: BTreeMap::new(),
        budget: Budget::default(),
        outlook: Outlook::default(),
        freezes: Vec::new(),
        freeze_override: None,
        window: None,
        at_end: AtEnd::Pause,
        made_from: None,
    }
}

/// Room for so many instances at once; blues are stopped once their agents are moved.
pub(super) fn scarce_plan(agents: usize, instances: u64) -> Plan {
    let mut plan = plan_with(agents, Standby::Stopped, ThinEvidence::Accept);
    let need = Need { blue_bytes: 10, green_bytes: 10, ..Need::default() };
    plan.budget.ceiling_bytes = 10 * instances;
    plan.budget.needs = names(agents).map(|name| (name, need)).collect();
    plan
}

/// A window from so many minutes after `began` until so many.
pub(super) fn freeze(began: UnixMillis, from_mins: u64, to_mins: u64) -> Freeze {
    let at = |mins| began + Millis::from_mins(mins);
    let name = format!("freeze at {from_mins}");
    Freeze { name, from: at(from_mins), to: at(to_mins), ends: format!("minute {to_mins}") }
}

fn batch(agents: &[AgentName], standby: Standby) -> Batch {
    let planned = |agent: &AgentName| PlannedAgent {
        agent: agent.clone(),
        from: revision(Side::Blue),
        to: revision(Side::Green),
        standby,
        drain: Millis::from_secs(30),
        boot: BOOT,
        ready: Readiness::default(),
    };
    Batch { agents: agents.iter().map(planned).collect(), memory_peak_bytes: 0, undo: Millis::ZERO }
}

fn names(count: usize) -> impl Iterator<Item = AgentName> {
    ('a'..='z').take(count).map(|letter| AgentName::new(letter.to_string()))
}

fn revision(side: Side) -> RevisionId {
    match side {
        Side::Blue => "v1".into(),
        Side::Green => "v2".into(),
    }
}

pub(super) fn report(verdict: Verdict) -> GateReport {
    let finding = match verdict {
        Verdict::Pass => Finding::NoHarmSeen,
        Verdict::Fail => Finding::Harm,
        Verdict::Inconclusive => Finding::CannotTellYet,
    };
    let judgement = Judgement {
        id: "R32".into(),
        metric: "error rate".into(),
        unit: "points".into(),
        baseline: Some(0.0),
        value: Some(0.0),
        limit: 0.001,
        samples: 100,
        finding,
        verdict,
        smallest_harm: None,
        why: "the script says so".into(),
    };
    GateReport { judgements: vec![judgement], last_second: 1 }
}
