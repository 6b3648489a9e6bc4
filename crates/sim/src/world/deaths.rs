//! Where a party can die, and who does. A run numbers the places that it passes, so that another one with the same
//! seed can end a given party at exactly one of them.

use std::collections::VecDeque;

use bellwether_core::time::Millis;

use super::{World, links::Link};

/// A place between two steps of one party. What comes before it has happened, what comes after it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// Events have reached the controller.
    Heard,
    /// The machine has taken them; nothing is written.
    Decided,
    /// They are in the journal; nothing is carried out.
    Journaled,
    /// One of the commands has been sent.
    Sent,
    /// The gateway has decided; nothing is stored.
    GatewayDecided,
    GatewayStored,
    GatewayAnswered,
    /// A command has reached the driver.
    DriverHeard,
    /// The process runs, and no record of it is on disk.
    DriverSpawned,
    DriverDone,
    DriverTold,
}

/// Who dies, or what breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Controller,
    /// The controller, and the disk with it loses the last transaction.
    ControllerAndTail,
    Gateway,
    ControllerAndGateway,
    /// And with it controller and gateway. Instances run on as orphans; how they end meanwhile nobody learns.
    Supervisor,
    DriverLink,
    GatewayLink,
}

/// A death, at the place of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    pub at: u64,
    pub party: Party,
}

#[derive(Default)]
pub(crate) struct Deaths {
    passed: u64,
    planned: VecDeque<Death>,
    /// The places in their order, where somebody wants to know.
    spots: Option<Vec<Spot>>,
}

impl Party {
    pub const ALL: [Self; 7] = [
        Self::Controller,
        Self::ControllerAndTail,
        Self::Gateway,
        Self::ControllerAndGateway,
        Self::Supervisor,
        Self::DriverLink,
        Self::GatewayLink,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::ControllerAndTail => "controller-and-tail",
            Self::Gateway => "gateway",
            Self::ControllerAndGateway => "controller-and-gateway",
            Self::Supervisor => "supervisor",
            Self::DriverLink => "driver-link",
            Self::GatewayLink => "gateway-link",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|party| party.name() == name)
    }

    /// A transaction may be lost only before anything of it left the process.
    pub fn can_die_at(self, spot: Spot) -> bool {
        self != Self::ControllerAndTail || spot == Spot::Journaled
    }
}

impl Deaths {
    pub(crate) fn at(planned: &[Death]) -> Self {
        let mut planned = planned.to_vec();
        planned.sort_by_key(|death| death.at);
        Self { planned: planned.into(), ..Self::default() }
    }

    pub(crate) fn that_counts() -> Self {
        Self { spots: Some(Vec::new()), ..Self::default() }
    }

    pub(crate) fn into_spots(self) -> Vec<Spot> {
        self.spots.unwrap_or_default()
    }
}

/// How long a link stays down that breaks at a place of its own.
const BREAK: Millis = Millis(700);

impl World {
    /// Whoever calls must look afterwards whether it still lives.
    pub(super) fn passes(&mut self, spot: Spot) {
        self.deaths.passed += 1;
        if let Some(spots) = &mut self.deaths.spots {
            spots.push(spot);
        }
        while self.deaths.planned.front().is_some_and(|death| death.at == self.deaths.passed) {
            if let Some(death) = self.deaths.planned.pop_front() {
                self.dies(death.party);
            }
        }
        let (rate, party) = match spot {
            Spot::Heard | Spot::Decided | Spot::Sent => (self.scenario.crash_per_message, Party::Controller),
            Spot::Journaled if self.fate_tears() => (self.scenario.crash_per_message, Party::ControllerAndTail),
            Spot::Journaled => (self.scenario.crash_per_message, Party::Controller),
            Spot::GatewayDecided | Spot::GatewayStored | Spot::GatewayAnswered => {
                (self.scenario.gateway_crash_per_write, Party::Gateway)
            }
            Spot::DriverHeard | Spot::DriverSpawned | Spot::DriverDone | Spot::DriverTold => {
                (self.scenario.supervisor_crash_per_command, Party::Supervisor)
            }
        };
        if self.faults() && self.fate.hit(rate) {
            self.dies(party);
        }
    }

    fn fate_tears(&mut self) -> bool {
        self.scenario.crash_per_message > 0.0 && self.faults() && self.fate.hit(0.2)
    }

    pub(super) fn dies(&mut self, party: Party) {
        match party {
            Party::Controller => self.controller_dies(),
            Party::ControllerAndTail => {
                self.shell.tear_tail();
                self.controller_dies();
            }
            Party::Gateway => self.gateway_dies(),
            Party::ControllerAndGateway => {
                self.gateway_dies();
                self.controller_dies();
            }
            Party::Supervisor => self.supervisor_dies(),
            Party::DriverLink => self.break_link(Link::Driver, BREAK),
            Party::GatewayLink => self.break_link(Link::Gateway, BREAK),
        }
    }
}
