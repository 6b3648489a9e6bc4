//! A small fleet and its rollouts, for tests.

use bellwether_core::{
    plan::{Measured, Plan, make},
    rollout::{Controller, Event, Verb, VerbKind},
    spec::{Sources, Spec, parse_fleet, parse_release},
    time::{Nanos, Now, UnixMillis},
};

use crate::run::declared;

const FLEET: &str = "
version: 1
fleet: small
host: {memory: 4GiB}
agents:
  list:
    - {name: a, type: t, command: [run-a]}
    - {name: b, type: t, command: [run-b]}
rollout:
  baseline: 20s
  phases:
    - {name: canary, select: {agents: [a]}, bake: 1m}
    - {name: full, select: rest, bake: 1m}
";

pub(crate) fn at(secs: u64) -> Now {
    Now { mono: Nanos(secs * 1_000_000_000), wall: UnixMillis(secs * 1000) }
}

pub(crate) fn fleet() -> Spec {
    parse_fleet(&Sources { name: "fleet.yaml", text: FLEET, read: &|_| Err("there is none".into()) }).unwrap()
}

/// Of a release that is named `v2`, whatever is in it.
pub(crate) fn plan(content: &str) -> Plan {
    let text = format!("version: 1\nrelease: v2\nset: {{env: {{CONTENT: {content}}}}}\n");
    make(&fleet(), &parse_release("v2.yaml", &text).unwrap(), &Measured::default(), 1.0).unwrap()
}

/// Started at the first second; its baseline is being measured.
pub(crate) fn started(plan: Plan) -> Controller {
    let mut machine = Controller::default();
    machine.step(at(0), Event::FleetDeclared { agents: declared(&fleet()) }).unwrap();
    machine.step(at(1), Event::start(plan, "test")).unwrap();
    machine
}

/// In its first phase since second 21.
pub(crate) fn progressing() -> Controller {
    let mut machine = started(plan("one"));
    let rollout = machine.rollout().unwrap().id;
    machine.step(at(1), Event::WindowOpened { rollout, after_second: 0 }).unwrap();
    machine.step(at(21), Event::BaselineMeasured { rollout, until_second: 20, refused: None }).unwrap();
    machine
}

pub(crate) fn roll_back(machine: &mut Controller, secs: u64) {
    let rollout = machine.rollout().unwrap().id;
    let verb = Verb::new(VerbKind::Rollback, rollout, "test", "");
    machine.step(at(secs), Event::Verb(verb)).unwrap();
}
