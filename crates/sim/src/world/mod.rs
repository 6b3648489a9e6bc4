//! The simulated world: one agenda, and what each happening does to the parts.

mod faults;
mod instances;
mod links;
mod operator;
mod reactor;
mod tasks;
mod tryout;

use bellwether_core::{
    id::{AgentName, InstanceId, RolloutId, Side},
    plan::{Plan, PlannedAgent},
    port::gateway::GatewayView,
    rollout::{Event, FleetAgent, Position, State, VerbKind, Window},
    spec::{Approval, Spec},
    time::{Millis, Nanos, Now, UnixMillis},
    traffic::TaskId,
};

use crate::{
    agenda::Agenda,
    chance::Chance,
    driver::{Driver, DriverCommand},
    evidence::Evidence,
    fleet::Fleet,
    gateway::{Gateway, Intent},
    model::{Call, ModelServer, SLOTS},
    referee::{Referee, Violation, violated},
    scenario::Scenario,
    shell::Shell,
};
use links::{Link, Links};

pub(crate) struct World {
    scenario: &'static Scenario,
    spec: Spec,
    plan: Plan,
    declared: Vec<FleetAgent>,
    /// For what happens anyway; faults draw from one of their own, so that the load stays the same without them.
    chance: Chance,
    fate: Chance,
    agenda: Agenda<Happening>,
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
        command: DriverCommand,
    },
    AtGateway {
        link: u64,
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
        running: Vec<InstanceId>,
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
    },
    /// The supervisor tells the gateway that it has ended, controller or not.
    Heralded {
        instance: InstanceId,
        asked: bool,
    },
    Arrival,
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
    /// Something that the scenario knows goes wrong right now.
    Mischief,
    GatewayComesBack,
    ControllerComesBack,
    Verb,
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

/// Between two looks of somebody who minds the rollout.
const CARE_EVERY: Millis = Millis::from_mins(5);
/// Mean time between two tasks of the whole example, which keeps the slots two fifths busy, and of a few agents.
const TASK_EVERY: Millis = Millis(7_000);
const TASK_EVERY_OF_FEW: Millis = Millis(20_000);
const FEW: usize = 40;
/// Faults end at a moment within this span.
const FAULTS_MAX: Millis = Millis::from_mins(11 * 60);
/// From then on a rollout is over within this: all its stages, extended, and the window after it.
const END_WITHIN: Millis = Millis::from_mins(14 * 60);
/// Everybody is served and nothing is under way for this long at the end.
const CALM: Millis = Millis::from_mins(3);

impl World {
    pub(crate) fn new(fleet: &Fleet, scenario: &'static Scenario, seed: u64) -> Self {
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
        let faults_until = Nanos(0) + fate.between(Millis::ZERO, FAULTS_MAX);
        let types = fleet.spec.agents.iter().map(|a| (a.name.clone(), a.agent_type.clone())).collect();
        let mut plan = fleet.plan.clone();
        plan.criteria.availability_min = scenario.availability_min;
        plan.triggers.on_shared_fault = scenario.on_shared_fault;
        plan.triggers.scope = scenario.scope;
        if scenario.verbs_every > Millis::ZERO {
            plan.phases.iter_mut().skip(1).for_each(|phase| phase.approval = Approval::Required);
        }
        let mut world = Self {
            scenario,
            spec: fleet.spec.clone(),
            plan,
            declared: fleet.declared(),
            agenda: Agenda::new(),
            shell: Shell::new(),
            driver: Driver::default(),
            gateway: Gateway::new(&fleet.spec),
            links: Links::default(),
            model: ModelServer::default(),
            evidence: Evidence::new(types),
            referee: Referee::default(),
            dead,
            unfit,
            faults_until,
            crashes: 0,
            happened: 0,
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
        self.agenda.after(Millis::from_mins(1), Happening::Arrival);
        for (every, fault) in [
            (self.scenario.death_every, Happening::Death),
            (self.scenario.link_breaks_every, Happening::LinkBreaks),
            (self.scenario.gateway_dies_every, Happening::GatewayDies),
            (self.scenario.verbs_every, Happening::Verb),
            (self.scenario.alarms_every, Happening::Alarm),
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

    pub(crate) fn state(&self) -> Option<State> {
        self.shell.machine.rollout().map(|rollout| rollout.state)
    }

    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        self.driver.memory_peak_bytes
    }

    fn happen(&mut self, happening: Happening) -> Result<(), Violation> {
        match happening {
            Happening::AtDriver { link, command } => self.at_driver(link, command),
            Happening::AtGateway { link, intent } => self.at_gateway(link, intent),
            Happening::AtController { life, link, event } => self.at_controller(life, link, *event),
            Happening::LinkUp { life, link, number } => self.link_up(life, link, number),
            Happening::Tick { life } => self.tick(life),
            Happening::SeesDriver { life } => self.sees_driver(life),
            Happening::SeesGateway { life, running } => self.sees_gateway(life, running),
            Happening::Measure { life, rollout } => self.measure(life, rollout),
            Happening::Judge { life, rollout, window, look } => self.judge(life, rollout, window, look),
            Happening::ProbeAnswers { life, instance } => self.probe_answers(life, instance),
            Happening::Up { instance } => self.up(instance),
            Happening::Asks { instance } => self.asks(instance),
            Happening::Ends { instance, asked } => self.ends(instance, asked),
            Happening::Heralded { instance, asked } => self.heralded(instance, asked),
            Happening::Arrival => self.arrival(),
            Happening::TakeOver { task } => self.take_over(&task),
            Happening::CallEnds { call, took } => self.call_ends(&call, took),
            Happening::Reports { instance, task, again } => self.reports(instance, &task, again),
            Happening::GatewayWakes => self.gateway_wakes(),
            Happening::Death => {
                self.again(self.scenario.death_every, Happening::Death);
                self.death()
            }
            Happening::LinkBreaks => {
                self.again(self.scenario.link_breaks_every, Happening::LinkBreaks);
                self.link_breaks()
            }
            Happening::GatewayDies => {
                self.again(self.scenario.gateway_dies_every, Happening::GatewayDies);
                self.gateway_dies()
            }
            Happening::ControllerDies => {
                if self.shell.up {
                    self.controller_dies();
                }
                Ok(())
            }
            Happening::Mischief => self.mischief(),
            Happening::GatewayComesBack => self.gateway_comes_back(),
            Happening::ControllerComesBack => self.controller_comes_back(),
            Happening::Verb => self.careless_verb(),
            Happening::Alarm => {
                self.again(self.scenario.alarms_every, Happening::Alarm);
                self.alarm()
            }
            Happening::BlueHeals { life, rollout } => {
                self.at_controller(life, None, Event::RollbackChecked { rollout, fault: None })
            }
            Happening::Commit => self.ask_for(VerbKind::Commit),
            Happening::Caretaker => self.care(),
        }
    }

    fn check(&mut self) -> Result<(), Violation> {
        let traffic = &self.gateway.traffic;
        self.referee.tasks_add_up(traffic.queued() + traffic.delayed(), traffic.leased())?;
        if self.driver.memory_bytes() > self.plan.budget.ceiling_bytes {
            let (used, ceiling) = (self.driver.memory_bytes() >> 20, self.plan.budget.ceiling_bytes >> 20);
            return violated("memory stays below the ledger's ceiling", format!("{used} MiB of {ceiling} MiB"));
        }
        if self.model.busy() > SLOTS {
            return violated("never more model calls than slots", self.model.busy().to_string());
        }
        if self.now() > self.faults_until + END_WITHIN {
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
            && !self.referee.is_away()
            && self.shell.machine.without_ready_instance() == 0
            && self.driver.running().len() == self.spec.agents.len()
            && self.referee.open_tasks() == 0;
        if !calm {
            self.calm_since = None;
            return false;
        }
        let now = self.now();
        now.since(*self.calm_since.get_or_insert(now)) >= CALM
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

    fn view(&self) -> GatewayView {
        self.gateway.view(Evidence::last_second(self.now()))
    }
}
