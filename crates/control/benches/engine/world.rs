//! A world that does at once whatever the machine asks for, and a watch on how long the machine takes.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bellwether_core::{
    analysis::{Finding, GateReport, Judgement, Verdict},
    id::{AgentName, InstanceId, RolloutId},
    port::driver::Exit,
    rollout::{Command, Controller, Event, Verb, VerbKind},
    time::{Millis, Nanos, Now, UnixMillis},
};

use crate::fleet::Fleet;

pub(crate) struct World {
    pub(crate) machine: Controller,
    pub(crate) journal: Vec<(Now, Event)>,
    now: Now,
    todo: VecDeque<Command>,
    routes: BTreeMap<AgentName, InstanceId>,
    pub(crate) taken: Taken,
}

/// Steps of the machine, and their time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Vec<Duration>);

impl Taken {
    /// What a step costs, whoever else wanted the processor meanwhile.
    pub(crate) fn median_us(mut self) -> f64 {
        self.0.sort_unstable();
        self.0.get(self.0.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }

    pub(crate) fn total_ms(&self) -> f64 {
        self.0.iter().sum::<Duration>().as_secs_f64() * 1e3
    }

    pub(crate) fn longest_ms(&self) -> f64 {
        self.0.iter().max().map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

impl World {
    /// Until everybody is served by blue.
    pub(crate) fn new(fleet: &Fleet) -> Result<Self, String> {
        let mut world = Self {
            machine: Controller::default(),
            journal: Vec::new(),
            now: Now { mono: Nanos(1), wall: UnixMillis(1_760_000_000_000) },
            todo: VecDeque::new(),
            routes: BTreeMap::new(),
            taken: Taken::default(),
        };
        world.feed(Event::FleetDeclared { agents: fleet.declared.clone() })?;
        world.settle()?;
        if world.machine.without_ready_instance() == 0 { Ok(world) } else { Err("not all are served".to_owned()) }
    }

    pub(crate) fn feed(&mut self, event: Event) -> Result<(), String> {
        let copy = event.clone();
        let began = Instant::now();
        let commands = self.machine.step(self.now, event).map_err(|refusal| refusal.to_string())?;
        let took = began.elapsed();
        self.taken.0.push(took);
        self.journal.push((self.now, copy));
        self.todo.extend(commands);
        self.pass(Millis(1));
        Ok(())
    }

    /// Everything that is asked for is done.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        while let Some(command) = self.todo.pop_front() {
            for event in self.carry_out(command) {
                self.feed(event)?;
            }
        }
        Ok(())
    }

    /// From deadline to deadline, until the condition holds.
    pub(crate) fn until(&mut self, what: &str, reached: impl Fn(&Controller) -> bool) -> Result<(), String> {
        while !reached(&self.machine) {
            self.settle()?;
            if reached(&self.machine) {
                break;
            }
            let due = self.machine.next_timeout().ok_or_else(|| format!("never reached: {what}"))?;
            self.pass(due.since(self.now.mono) + Millis(1));
            self.feed(Event::Tick)?;
        }
        self.settle()
    }

    pub(crate) fn verb(&mut self, verb: VerbKind) -> Result<(), String> {
        let rollout = self.machine.rollout().map_or(RolloutId(1), |rollout| rollout.id);
        let verb = Verb::new(verb, rollout, "bench", "measured");
        self.feed(Event::Verb(verb))
    }

    /// The process that serves the agent ends by itself, and another one takes its place.
    pub(crate) fn die_and_come_back(&mut self, agent: &AgentName) -> Result<(), String> {
        let instance = *self.routes.get(agent).ok_or("nobody serves it")?;
        self.feed(Event::Exited { instance, exit: exit(false) })?;
        self.settle()?;
        self.pass(Millis::from_mins(2));
        self.feed(Event::Tick)?;
        self.settle()?;
        if self.routes.get(agent) == Some(&instance) { Err(format!("{agent} was not replaced")) } else { Ok(()) }
    }

    pub(crate) fn pass(&mut self, span: Millis) {
        self.now = Now { mono: self.now.mono + span, wall: self.now.wall + span };
    }

    pub(crate) fn now(&self) -> Now {
        self.now
    }

    fn carry_out(&mut self, command: Command) -> Vec<Event> {
        match command {
            Command::Enrol { instance, .. } => vec![Event::Enrolled { instances: vec![instance] }],
            Command::Start { instance, .. } => vec![Event::Started { instance }, Event::Polled { instance }],
            Command::Stop { instance, .. } => vec![Event::Exited { instance, exit: exit(true) }],
            Command::Freeze { instance } => vec![Event::Frozen { instance }],
            Command::Thaw { instance } => vec![Event::Thawed { instance }],
            Command::Probe { instance } => vec![Event::Healthy { instance }],
            Command::TryOut { instance, .. } => vec![Event::TriedOut { instance, fault: None }],
            Command::CutOver { generation, moves, .. } => {
                let mut told = vec![Event::CutOver { generation }];
                for one in moves {
                    let retired = self.routes.insert(one.agent, one.to);
                    told.extend(retired.map(|instance| Event::Empty { instance, revoked: 0 }));
                }
                told
            }
            Command::OpenWindow { rollout, .. } => vec![Event::WindowOpened { rollout, after_second: 1 }],
            Command::MeasureBaseline { rollout } => {
                vec![Event::BaselineMeasured { rollout, until_second: 9, refused: None }]
            }
            Command::CheckBlue { rollout } => vec![Event::RollbackChecked { rollout, fault: None }],
            Command::Judge { rollout, look, .. } => vec![Event::Judged { rollout, look, report: report() }],
            // The gateway has nothing to say to these, and no fall-back to make: blue took over nowhere.
            Command::Lost { .. } | Command::Retire { .. } | Command::Settle { .. } | Command::Observe => Vec::new(),
        }
    }
}

fn exit(asked: bool) -> Exit {
    Exit { code: Some(i32::from(!asked)), signal: None, out_of_memory: false, asked }
}

fn report() -> GateReport {
    let judgement = |id: &str| Judgement {
        id: id.into(),
        metric: "error rate".into(),
        unit: "points".into(),
        baseline: Some(0.0),
        value: Some(0.0),
        limit: 0.001,
        samples: 100,
        finding: Finding::NoHarmSeen,
        verdict: Verdict::Pass,
        smallest_harm: None,
        why: "nothing was found that a gate would hold against it".into(),
    };
    let ids = ["R31", "R32", "R33", "R34", "R35", "R36", "R37", "R38", "R39"];
    GateReport { judgements: ids.map(judgement).to_vec(), last_second: 1 }
}
