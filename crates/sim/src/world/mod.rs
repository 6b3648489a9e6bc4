//! The simulated world: one agenda, and what each happening does to the parts.

pub(crate) mod deaths;
mod faults;
mod instances;
mod lies;
mod links;
mod operator;
pub(crate) mod plot;
mod reactor;
mod study;
mod tasks;
mod tryout;

use std::collections::BTreeSet;

use bellwether_core::{
    id::{AgentName, InstanceId, RolloutId, Side},
    plan::{Plan, PlannedAgent},
    port::gateway::GatewayView,
    rollout::{Event, FleetAgent, Position, State, VerbKind, Window},
    spec::{Approval, Spec},
    time::{Millis, Nanos, Now, UnixMillis},
    traffic::{Submission, TaskId},
};

use crate::{
    agenda::Agenda,
    chance::Chance,
    driver::{Driver, DriverCommand},
    evidence::Evidence,
    fleet::{Fleet, Pace},
    gateway::{Gateway, Intent},
    model::{Call, ModelServer},
    referee::{Referee, Violation, violated},
    scenario::Scenario,
    shell::Shell,
    simulate::Sickness,
};
use deaths::Deaths;
use links::{Link, Links};
pub(crate) use study::Studied;

pub(crate) struct World {
    scenario: Scenario,
    pace: Pace,
    spec: Spec,
    plan: Plan,
    declared: Vec<FleetAgent>,
    /// For what happens anyway; faults draw from one of their own, so that the load stays the same without them.
    chance: Chance,
    fate: Chance,
    agenda: Agenda<Happening>,
    deaths: Deaths,
    pub(crate) shell: Shell,
    driver: Driver,
    gateway: Gateway,
    links: Links,
    model: ModelServer,
    evidence: Evidence,
    pub(crate) referee: Referee,
    /// Agents whose greens never ask for a task, and those whose greens answer none.
    dead: Vec<AgentName>,
    unfit: Vec<AgentName>,
    faults_until: Nanos,
    pub(crate) crashes: u64,
    pub(crate) happened: u64,
    submitted: u64,
    sick: Option<(Sickness, BTreeSet<AgentName>)>,
    study: Studied,
    calm_since: Option<Nanos>,
    noted: Option<State>,
    /// Where the rollout stood when somebody last looked at it.
    glance: Option<Position>,
}

#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A command reaches the driver, or an intent the gateway, over the link of this number.
    AtDriver {
        link: u64,
        life: u64,
        command: DriverCommand,
    },
    AtGateway {
        link: u64,
        life: u64,
        intent: Intent,
    },
    /// Reaches the controller, if it is still the one that it was meant for.
    AtController {
        life: u64,
        link: Option<(Link, u64)>,
        event: Box<Event>,
    },
    LinkUp {
        life: u64,
        link: Link,
        number: u64,
    },
    Tick {
        life: u64,
    },
    /// The controller sees what runs, and then what the gateway holds.
    SeesDriver {
        life: u64,
    },
    SeesGateway {
        life: u64,
        running: BTreeSet<InstanceId>,
    },
    SeesNothing {
        life: u64,
    },
    /// It looks although nothing happened.
    Glances {
        life: u64,
    },
    /// It has written, and takes what waits.
    Wakes {
        life: u64,
    },
    Measure {
        life: u64,
        rollout: RolloutId,
    },
    Judge {
        life: u64,
        rollout: RolloutId,
        window: Window,
        look: u32,
    },
    ProbeAnswers {
        life: u64,
        instance: InstanceId,
    },
    Up {
        instance: InstanceId,
    },
    /// It asks for a task, for the first time or again.
    Asks {
        instance: InstanceId,
    },
    /// It ends, as it was asked to or by itself.
    Ends {
        instance: InstanceId,
        asked: bool,
        /// Only if the driver of this number still lives: it was to end it.
        killer: Option<u64>,
    },
    /// The supervisor tells the gateway that it has ended, controller or not.
    Heralded {
        instance: InstanceId,
        asked: bool,
    },
    Arrival,
    /// A client submits a task again.
    Submits {
        submission: Submission,
    },
    TakeOver {
        task: TaskId,
    },
    CallEnds {
        call: Call,
        took: Millis,
    },
    Reports {
        instance: InstanceId,
        task: TaskId,
        again: bool,
    },
    GatewayWakes,
    Death,
    LinkBreaks,
    GatewayDies,
    ControllerDies,
    SupervisorDies,
    /// The driver denies that something runs.
    Denies,
    Confesses {
        instance: InstanceId,
    },
    /// Something that the scenario knows goes wrong right now.
    Mischief,
    GatewayComesBack {
        life: u64,
    },
    ControllerComesBack {
        life: u64,
    },
    SupervisorComesBack {
        life: u64,
    },
    Verb,
    Plot,
    /// It is over, and the watch sees what was in it.
    Second {
        number: u64,
    },
    /// A trigger fires.
    Alarm,
    /// Blue is well again.
    BlueHeals {
        life: u64,
        rollout: RolloutId,
    },
    Commit,
    /// Somebody looks after what waits for a person.
    Caretaker,
}

impl World {
    pub(crate) fn new(fleet: &Fleet, scenario: Scenario, seed: u64, deaths: Deaths) -> Self {
        let mut chance = Chance::new(seed);
        let mut fate = Chance::new(seed ^ 0x5eed_0ffa_7e00);
        let mut dead: Vec<AgentName> = Vec::new();
        for _ in 0..scenario.dead_greens {
            let agents = &fleet.spec.agents;
            dead.push(agents[fate.below(agents.len())].name.clone());
        }
        let mut unfit: Vec<AgentName> = Vec::new();
        for _ in 0..scenario.unfit_greens {
            let agents = &fleet.spec.agents;
            unfit.push(agents[fate.below(agents.len())].name.clone());
        }
        if let Some((Sickness::Unfit, agents)) = &fleet.sick {
            unfit.extend(agents.iter().cloned());
        }
        // In a study they go on for as long as the rollout does.
        let most = if scenario.studied { fleet.pace.faults_max } else { Millis::ZERO };
        let faults_until = Nanos(0) + fate.between(most, fleet.pace.faults_max);
        let types = fleet.spec.agents.iter().map(|a| (a.name.clone(), a.agent_type.clone())).collect();
        let mut plan = fleet.plan.clone();
        plan.criteria.availability_min = scenario.availability_min;
        plan.triggers.on_shared_fault = scenario.on_shared_fault;
        plan.triggers.scope = scenario.scope;
        if scenario.verbs_every > Millis::ZERO {
            plan.phases.iter_mut().skip(1).for_each(|phase| phase.approval = Approval::Required);
        }
        let referee = Referee::new(&plan);
        let mut world = Self {
            scenario,
            pace: fleet.pace,
            spec: fleet.spec.clone(),
            plan,
            declared: fleet.declared(),
            agenda: Agenda::new(),
            deaths,
            shell: Shell::new(),
            driver: Driver::default(),
            gateway: Gateway::new(&fleet.spec),
            links: Links::default(),
            model: ModelServer::new(fleet.pace),
            evidence: Evidence::new(types),
            referee,
            dead,
            unfit,
            faults_until,
            crashes: 0,
            happened: 0,
            submitted: 0,
            sick: fleet.sick.clone(),
            study: Studied::default(),
            calm_since: None,
            noted: None,
            glance: None,
            chance: Chance::new(chance.number()),
            fate,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let life = self.shell.life;
        self.agenda.after(Millis(1), Happening::Caretaker);
        for link in [Link::Driver, Link::Gateway] {
            self.agenda.after(Millis(20), Happening::LinkUp { life, link, number: self.links.number(link) });
        }
        self.will_glance();
        self.agenda.after(self.pace.first_task, Happening::Arrival);
        for (every, fault) in [
            (self.scenario.death_every, Happening::Death),
            (self.scenario.link_breaks_every, Happening::LinkBreaks),
            (self.scenario.gateway_dies_every, Happening::GatewayDies),
            (self.scenario.verbs_every, Happening::Verb),
            (self.scenario.alarms_every, Happening::Alarm),
            (self.scenario.supervisor_dies_every, Happening::SupervisorDies),
            (self.scenario.lies.denials_every, Happening::Denies),
            (self.scenario.controller_dies_every, Happening::ControllerDies),
        ] {
            self.again(every, fault);
        }
    }

    /// Enters the next fault of a Poisson process, unless the faults are over by then.
    fn again(&mut self, every: Millis, fault: Happening) {
        if every > Millis::ZERO {
            let at = self.now() + self.fate.exponential(every);
            if at < self.faults_until {
                self.agenda.at(at, fault);
            }
        }
    }

    /// One happening. `None` once the run is over.
    pub(crate) fn next(&mut self, tell: &mut dyn FnMut(&Self, &Happening)) -> Result<Option<()>, Violation> {
        let Some(happening) = self.agenda.next() else {
            return violated("a run comes to its end", "nothing is left that could happen");
        };
        self.happened += 1;
        tell(self, &happening);
        self.happen(happening)?;
        self.check()?;
        if self.is_over() { Ok(None) } else { Ok(Some(())) }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.agenda.now()
    }

    /// The gateway's clocks; they never jump.
    fn gateway_now(&self) -> Now {
        Now { mono: self.now(), wall: UnixMillis(self.now().0 / 1_000_000) }
    }

    fn faults(&self) -> bool {
        self.now() < self.faults_until
    }

    pub(crate) fn into_deaths(self) -> Deaths {
        self.deaths
    }

    pub(crate) fn state(&self) -> Option<State> {
        self.shell.machine.rollout().map(|rollout| rollout.state)
    }

    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        self.driver.memory_peak_bytes
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::AtDriver { link, life, command } => return self.at_driver(link, life, command),
            Happening::AtGateway { link, life, intent } => return self.at_gateway(link, life, intent),
            Happening::AtController { life, link, event } => return self.at_controller(life, link, *event),
            Happening::LinkUp { life, link, number } => return self.link_up(life, link, number),
            Happening::Tick { life } => return self.tick(life),
            Happening::Wakes { life } => return self.wakes(life),
            Happening::SeesDriver { life } => return self.sees_driver(life),
            Happening::SeesGateway { life, running } => return self.sees_gateway(life, running),
            Happening::SeesNothing { life } => return self.sees_nothing(life),
            Happening::Glances { life } => return self.glances(life),
            Happening::Measure { life, rollout } => return self.measure(life, rollout),
            Happening::Judge { life, rollout, window, look } => return self.judge(life, rollout, window, look),
            Happening::ProbeAnswers { life, instance } => return self.probe_answers(life, instance),
            Happening::Up { instance } => return self.up(instance),
            Happening::Asks { instance } => return self.asks(instance),
            Happening::Ends { instance, asked, killer } => return self.ends(instance, asked, killer),
            Happening::Heralded { instance, asked } => return self.heralded(instance, asked),
            Happening::Arrival => return self.arrival(),
            Happening::Submits { submission } => return self.submits(submission),
            Happening::TakeOver { task } => return self.take_over(&task),
            Happening::CallEnds { call, took } => return self.call_ends(&call, took),
            Happening::Reports { instance, task, again } => return self.reports(instance, &task, again),
            Happening::GatewayWakes => return self.gateway_wakes(),
            Happening::Death => {
                self.again(self.scenario.death_every, Happening::Death);
                return self.death();
            }
            Happening::LinkBreaks => {
                self.again(self.scenario.link_breaks_every, Happening::LinkBreaks);
                self.link_breaks();
            }
            Happening::GatewayDies => {
                self.again(self.scenario.gateway_dies_every, Happening::GatewayDies);
                self.gateway_dies();
            }
            Happening::ControllerDies => {
                self.again(self.scenario.controller_dies_every, Happening::ControllerDies);
                self.controller_dies();
            }
            Happening::SupervisorDies => {
                self.again(self.scenario.supervisor_dies_every, Happening::SupervisorDies);
                self.supervisor_dies();
            }
            Happening::Denies => {
                self.again(self.scenario.lies.denials_every, Happening::Denies);
                self.denies();
            }
            Happening::Confesses { instance } => self.confesses(instance),
            Happening::Mischief => return self.mischief(),
            Happening::GatewayComesBack { life } => return self.gateway_comes_back(life),
            Happening::ControllerComesBack { life } => return self.controller_comes_back(life),
            Happening::SupervisorComesBack { life } => return self.supervisor_comes_back(life),
            Happening::Verb => return self.careless_verb(),
            Happening::Plot => return self.plot(),
            Happening::Second { number } => return self.second(number),
            Happening::Alarm => {
                self.again(self.scenario.alarms_every, Happening::Alarm);
                return self.alarm();
            }
            Happening::BlueHeals { life, rollout } => return self.blue_heals(life, rollout),
            Happening::Commit => return self.ask_for(VerbKind::Commit),
            Happening::Caretaker => return self.care(),
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Violation> {
        let traffic = &self.gateway.traffic;
        self.referee.tasks_add_up(traffic.queued() + traffic.delayed(), traffic.leased())?;
        // What a driver denied was replaced, and counts twice until somebody believes that it is still there.
        let denied = self.driver.bytes_of(self.referee.discredited());
        self.referee.memory(self.driver.memory_bytes() - denied, self.plan.budget.ceiling_bytes)?;
        self.referee.slots(self.model.busy(), self.pace.slots)?;
        if self.now() > self.faults_until + self.pace.end_within {
            let open = self.referee.open_tasks();
            return violated(
                "without faults a rollout comes to its end",
                format!("it stands at {:?}, {open} tasks are open, {} run", self.state(), self.driver.running().len()),
            );
        }
        Ok(())
    }

    /// Over, everybody is served, nothing is left to do, and it stays so for a while.
    fn is_over(&mut self) -> bool {
        let calm = self.state().is_some_and(State::is_over)
            && !self.faults()
            && self.shell.up
            && self.gateway.up
            && !self.referee.is_away()
            && self.shell.machine.without_ready_instance() == 0
            && self.driver.running().len() == self.spec.agents.len()
            && self.referee.open_tasks() == 0;
        if !calm {
            self.calm_since = None;
            return false;
        }
        let now = self.now();
        now.since(*self.calm_since.get_or_insert(now)) >= self.pace.calm
    }

    /// The world at the end is the one that the state of the rollout names.
    pub(crate) fn check_the_end(&mut self) -> Result<(), Violation> {
        self.shell.compare()?;
        self.shell.compare_from_text()?;
        let green = self.state() == Some(State::Committed);
        let held_back = self.shell.machine.rollout().map(|rollout| rollout.held_back()).unwrap_or_default();
        for (agent, route) in self.gateway.traffic.routes() {
            let Some(active) = route.active else {
                return violated("everybody is served at the end", agent.to_string());
            };
            let Some(process) = self.driver.get(active).filter(|process| process.serves()) else {
                return violated("everybody is served at the end", format!("{agent} by {active}"));
            };
            let planned = self.plan.agents().find(|planned| &planned.agent == agent);
            let moved = |planned: &PlannedAgent| green && !held_back.contains(&planned.agent);
            if planned.is_some_and(|p| process.revision != *if moved(p) { &p.to } else { &p.from }) {
                let revision = &process.revision;
                return violated("the end is what the rollout says", format!("{agent} is served by {revision}"));
            }
            let card = self.gateway.traffic.instances().find(|(instance, _)| **instance == active);
            if card.is_none_or(|(_, enrolled)| enrolled.card.side != Side::Blue) {
                return violated("what was committed counts as blue", format!("{agent}, instance {active}"));
            }
        }
        Ok(())
    }

    /// What the driver says runs.
    fn observed(&self) -> BTreeSet<InstanceId> {
        self.driver.observed()
    }

    fn view(&self) -> GatewayView {
        self.gateway.view(Evidence::last_second(self.now()))
    }
}
