//! What goes wrong in a run, and what must come of it all the same.

use bellwether_core::{
    spec::{OnSharedFault, Scope},
    time::Millis,
};

pub use crate::world::plot::Plot;

/// Rates of deliberate faults. They act until the faults of the run stop; what a revision itself does wrong stays.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// The median time from start to the first request for a task.
    pub boot: Millis,
    pub boot_sigma: f64,
    /// Greens that start and never ask for a task.
    pub dead_greens: usize,
    /// Greens that ask for tasks and answer none.
    pub unfit_greens: usize,
    /// Chance that an answer to a synthetic task is no good, and that there is none.
    pub bad_answers: f64,
    pub answers_lost: f64,
    /// Chance that an instance ends by itself while it boots.
    pub dies_in_boot: f64,
    pub start_fails: f64,
    /// Mean time between deaths anywhere in the fleet. Zero: never.
    pub death_every: Millis,
    /// The same for breaks of one of the two links.
    pub link_breaks_every: Millis,
    pub link_latency_max: Millis,
    /// Chance that a message arrives twice.
    pub duplicated: f64,
    /// Chance that the controller dies at a message.
    pub crash_per_message: f64,
    pub gateway_dies_every: Millis,
    /// Chance that the gateway dies at a step of one of its transactions.
    pub gateway_crash_per_write: f64,
    /// Chance that the supervisor dies at a step of one of the driver's commands.
    pub supervisor_crash_per_command: f64,
    pub supervisor_dies_every: Millis,
    /// How long the controller's journal takes to write, at most. What comes meanwhile shares the next transaction.
    pub write_max: Millis,
    /// Chance that the other end of a link answers late, and by how much on average.
    pub late: f64,
    pub late_by: Millis,
    pub lies: Lies,
    /// What is decided at one moment.
    pub plot: Plot,
    /// A rollout of minutes.
    pub brisk: bool,
    /// Somebody's own fleet: its triggers watch, its boots are the plan's, and nobody decides anything.
    pub studied: bool,
    /// Mean time between deaths of the controller at any moment.
    pub controller_dies_every: Millis,
    /// Somebody presses buttons without thinking.
    pub verbs_every: Millis,
    /// Chance that a gate cannot tell.
    pub doubt: f64,
    /// Share of tasks that green fails.
    pub green_errors: f64,
    /// Triggers fire, for good reasons or none.
    pub alarms_every: Millis,
    /// Chance that such a fault is one that blue shares.
    pub shared: f64,
    pub on_shared_fault: OnSharedFault,
    pub scope: Scope,
    /// Chance that the first check of a rollback finds blue at fault, for a while or for good.
    pub blue_at_fault: f64,
    /// Memory is so scarce that blues must be stopped to make room for green.
    pub scarce_memory: bool,
    /// Freeze windows lie in the way, and sometimes the rollout has to be done in a window.
    pub windows: bool,
    /// R36 for this run. Deaths on purpose would otherwise fail the first gate, and nothing after it would be seen.
    pub availability_min: f64,
    /// How it must end; none: in any way that is an end.
    pub expect: Expect,
}

/// Chances that a driver says what is not so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lies {
    /// It says that an instance has started, and there is none.
    pub untrue_starts: f64,
    /// It takes a command and does nothing.
    pub never_done: f64,
    /// An end is not told, or told twice.
    pub exits_lost: f64,
    pub exits_doubled: f64,
    /// An end is not told, and for a while denied.
    pub ghosts: f64,
    /// Mean time between two instances that it denies for a while.
    pub denials_every: Millis,
}

const NO_LIES: Lies = Lies {
    untrue_starts: 0.0,
    never_done: 0.0,
    exits_lost: 0.0,
    exits_doubled: 0.0,
    ghosts: 0.0,
    denials_every: Millis::ZERO,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Any,
    /// A gate may find harm where there is none, within its level; nothing else may undo this rollout.
    CommittedOrFalseAlarm,
    RolledBack,
    /// The same, but that a baseline in which somebody died may be refused.
    CommittedOrRefused,
    RolledBackOrRefused,
}

const CALM: Scenario = Scenario {
    name: "healthy",
    about: "nothing goes wrong",
    boot: Millis(2_500),
    boot_sigma: 0.3,
    dead_greens: 0,
    unfit_greens: 0,
    bad_answers: 0.0,
    answers_lost: 0.0,
    dies_in_boot: 0.0,
    start_fails: 0.0,
    death_every: Millis::ZERO,
    link_breaks_every: Millis::ZERO,
    link_latency_max: Millis(3),
    duplicated: 0.0,
    crash_per_message: 0.0,
    gateway_dies_every: Millis::ZERO,
    gateway_crash_per_write: 0.0,
    supervisor_crash_per_command: 0.0,
    supervisor_dies_every: Millis::ZERO,
    write_max: Millis(4),
    late: 0.0,
    late_by: Millis::ZERO,
    lies: NO_LIES,
    plot: Plot::None,
    brisk: false,
    studied: false,
    controller_dies_every: Millis::ZERO,
    verbs_every: Millis::ZERO,
    doubt: 0.0,
    green_errors: 0.0,
    alarms_every: Millis::ZERO,
    shared: 0.0,
    on_shared_fault: OnSharedFault::Rollback,
    scope: Scope::Rollout,
    blue_at_fault: 0.0,
    scarce_memory: false,
    windows: false,
    availability_min: 1.0,
    expect: Expect::CommittedOrFalseAlarm,
};

const FAULTY: Scenario = Scenario { availability_min: 0.0, expect: Expect::Any, ..CALM };

pub const SCENARIOS: [Scenario; 20] = [
    CALM,
    Scenario {
        name: "slow-boots",
        about: "instances take long to boot, some of them longer than they may",
        boot: Millis(14_000),
        boot_sigma: 0.6,
        ..FAULTY
    },
    Scenario {
        name: "dead-agents",
        about: "greens that start and never ask for a task",
        dead_greens: 2,
        expect: Expect::RolledBack,
        ..CALM
    },
    Scenario {
        name: "unfit-agents",
        about: "greens that boot well and answer no synthetic task; the others need several tries",
        unfit_greens: 2,
        bad_answers: 0.3,
        expect: Expect::RolledBack,
        ..CALM
    },
    Scenario {
        name: "deaths",
        about: "instances of both sides die at any time, also while they boot",
        death_every: Millis::from_mins(4),
        dies_in_boot: 0.02,
        start_fails: 0.01,
        ..FAULTY
    },
    Scenario {
        name: "lossy",
        about: "links to driver and gateway break; messages are lost, late and doubled",
        link_breaks_every: Millis::from_mins(3),
        link_latency_max: Millis(400),
        bad_answers: 0.2,
        answers_lost: 0.1,
        duplicated: 0.05,
        death_every: Millis::from_mins(30),
        ..FAULTY
    },
    Scenario {
        name: "crashes",
        about: "the controller dies at any message, and its wall clock jumps",
        crash_per_message: 0.01,
        bad_answers: 0.2,
        death_every: Millis::from_mins(30),
        ..FAULTY
    },
    Scenario {
        name: "gateway-dies",
        about: "the gateway is killed and goes on from its store",
        gateway_dies_every: Millis::from_mins(8),
        answers_lost: 0.1,
        death_every: Millis::from_mins(20),
        ..FAULTY
    },
    Scenario {
        name: "gateway-writes",
        about: "the gateway is killed before, in and after its transactions",
        gateway_crash_per_write: 0.002,
        death_every: Millis::from_mins(40),
        ..FAULTY
    },
    Scenario {
        name: "supervisor",
        about: "the supervisor is killed, and controller and gateway with it; instances run on as orphans",
        supervisor_dies_every: Millis::from_mins(20),
        supervisor_crash_per_command: 0.02,
        death_every: Millis::from_mins(20),
        ..FAULTY
    },
    Scenario {
        name: "slow-links",
        about: "driver and gateway answer late, by seconds to minutes, and write slowly",
        late: 0.02,
        late_by: Millis::from_secs(20),
        write_max: Millis(800),
        duplicated: 0.02,
        start_fails: 0.05,
        death_every: Millis::from_mins(30),
        ..FAULTY
    },
    Scenario {
        name: "lies",
        about: "the driver tells of starts that were none, hides ends, takes commands and does nothing",
        lies: Lies {
            untrue_starts: 0.05,
            never_done: 0.05,
            exits_lost: 0.2,
            exits_doubled: 0.2,
            ghosts: 0.1,
            denials_every: Millis::from_mins(30),
        },
        start_fails: 0.1,
        death_every: Millis::from_mins(15),
        ..FAULTY
    },
    Scenario {
        name: "operator",
        about: "verbs at random moments",
        verbs_every: Millis::from_mins(6),
        doubt: 0.3,
        death_every: Millis::from_mins(40),
        ..FAULTY
    },
    Scenario {
        name: "harm",
        about: "green fails two tasks of five",
        green_errors: 0.4,
        expect: Expect::RolledBack,
        ..CALM
    },
    Scenario {
        name: "scarce-memory",
        about: "blue and green of the whole fleet do not fit side by side",
        scarce_memory: true,
        verbs_every: Millis::from_mins(20),
        death_every: Millis::from_mins(40),
        ..FAULTY
    },
    Scenario {
        name: "alarms",
        about: "a trigger fires at any moment; the whole rollout goes back, and blue is not always well then",
        alarms_every: Millis::from_mins(120),
        shared: 0.3,
        blue_at_fault: 0.3,
        verbs_every: Millis::from_mins(30),
        death_every: Millis::from_mins(30),
        crash_per_message: 0.0005,
        ..FAULTY
    },
    Scenario {
        name: "parts",
        about: "triggers and people take back single agents while the rest goes on",
        alarms_every: Millis::from_mins(15),
        shared: 0.3,
        on_shared_fault: OnSharedFault::Hold,
        scope: Scope::Agent,
        verbs_every: Millis::from_mins(15),
        death_every: Millis::from_mins(30),
        crash_per_message: 0.0005,
        ..FAULTY
    },
    Scenario {
        name: "no-room-back",
        about: "a trigger blames green, and blue has no room before green is gone",
        scarce_memory: true,
        alarms_every: Millis::from_mins(60),
        scope: Scope::Type,
        death_every: Millis::from_mins(40),
        crash_per_message: 0.0005,
        ..FAULTY
    },
    Scenario {
        name: "windows",
        about: "freeze windows and the end of its window come at any moment, and the controller's wall clock jumps",
        windows: true,
        doubt: 0.2,
        verbs_every: Millis::from_mins(30),
        death_every: Millis::from_mins(40),
        crash_per_message: 0.002,
        ..FAULTY
    },
    Scenario {
        name: "chaos",
        about: "all of it together",
        boot: Millis(6_000),
        boot_sigma: 0.6,
        dies_in_boot: 0.01,
        bad_answers: 0.1,
        answers_lost: 0.05,
        start_fails: 0.01,
        death_every: Millis::from_mins(10),
        link_breaks_every: Millis::from_mins(6),
        link_latency_max: Millis(200),
        duplicated: 0.02,
        crash_per_message: 0.001,
        gateway_dies_every: Millis::from_mins(25),
        gateway_crash_per_write: 0.0002,
        supervisor_dies_every: Millis::from_mins(90),
        lies: Lies { exits_lost: 0.05, exits_doubled: 0.05, ..NO_LIES },
        verbs_every: Millis::from_mins(15),
        doubt: 0.2,
        alarms_every: Millis::from_mins(90),
        shared: 0.3,
        scope: Scope::Phase,
        blue_at_fault: 0.2,
        ..FAULTY
    },
];

/// A study brings its own faults.
pub(crate) const STUDY: Scenario = Scenario { name: "study", studied: true, expect: Expect::Any, ..CALM };

const QUIET: Scenario = Scenario { brisk: true, availability_min: 0.0, expect: Expect::RolledBackOrRefused, ..CALM };

/// Short rollouts in which nothing goes wrong but what is made to, at one place or two.
pub const PLAYS: [Scenario; 6] = [
    Scenario { name: "healthy", about: "it goes through", expect: Expect::CommittedOrRefused, ..QUIET },
    Scenario { name: "blamed", about: "a trigger blames green in the third phase", plot: Plot::Blamed, ..QUIET },
    Scenario {
        name: "partly",
        about: "a trigger takes one agent of the second phase back, and the rest goes on",
        plot: Plot::Partly,
        expect: Expect::CommittedOrRefused,
        scope: Scope::Agent,
        ..QUIET
    },
    Scenario {
        name: "warming",
        about: "a person rolls back while the second phase warms up",
        plot: Plot::WarmingUndone,
        ..QUIET
    },
    Scenario {
        name: "cutover",
        about: "a person rolls back while the second phase's traffic moves",
        plot: Plot::CutoverUndone,
        ..QUIET
    },
    Scenario {
        name: "no-room",
        about: "a trigger blames green, and blue has no room before green is gone",
        plot: Plot::Blamed,
        scarce_memory: true,
        ..QUIET
    },
];

impl Scenario {
    pub fn play(name: &str) -> Option<&'static Self> {
        PLAYS.iter().find(|play| play.name == name)
    }

    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }
}
