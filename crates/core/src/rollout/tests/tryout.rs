//! A green gets no traffic before it has answered a synthetic task, and nothing else waits for that.

use super::world::{World, plan, plan_with};
use crate::{
    id::{AgentName, InstanceId, ModelName, Side},
    plan::{Plan, Standby},
    rollout::{Command, Event, Is, State, Step, Trigger, VerbKind},
    spec::{Delivery, Readiness, Revision, ThinEvidence},
    time::Millis,
};

const WITHIN: Millis = Millis::from_mins(10);

/// A rollout of which green of `a` has begun and was not answered yet.
fn proving() -> World {
    let mut world = World::rolling(2);
    world.silent.insert("a".into());
    world.until("green of a has begun", |w| matches!(green(w, "a"), Some(Is::Proving { .. })));
    world.settle();
    world
}

fn green(world: &World, agent: &str) -> Option<Is> {
    let view = world.controller.view(world.now);
    let agent = view.agents.into_iter().find(|view| view.name == AgentName::from(agent));
    agent.and_then(|agent| agent.green).map(|green| green.is)
}

fn tried_out(world: &World) -> Vec<InstanceId> {
    let asked = world.done.iter().filter_map(|command| match command {
        Command::TryOut { instance, .. } => Some(*instance),
        _ => None,
    });
    asked.collect()
}

/// The plan, of a revision whose tasks reach it in another way.
fn delivered(http: bool, delivery: Delivery) -> Plan {
    let mut plan = plan(2);
    let mut revision = Revision::new(
        "v2".into(),
        vec!["agent".into()],
        Default::default(),
        ModelName::new("tinyllama"),
        http,
        Millis::from_secs(20),
        delivery,
    );
    revision.id = "v2".into();
    plan.revisions.insert(revision.id.clone(), revision);
    plan
}

#[test]
fn each_green_is_tried_out_once_and_no_blue() {
    let mut world = World::rolling(5);
    assert_eq!(world.finish(), State::Committed);
    let mut asked = tried_out(&world);
    asked.sort_unstable();
    assert_eq!(asked, [6, 7, 8, 9, 10].map(InstanceId), "the blues are 1 to 5");
}

#[test]
fn a_green_that_answers_badly_never_gets_traffic_and_the_rollout_comes_back() {
    let mut world = World::rolling(4);
    world.unfit.insert("b".into(), "result carries nothing");
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
    let trigger = &world.rollout().rollback.as_ref().unwrap().trigger;
    assert!(matches!(trigger, Trigger::CrashLoop { agent, exits: 3, .. } if agent.as_str() == "b"), "{trigger:?}");
    assert_eq!(
        trigger.to_string(),
        "crash loop (R99): green of b failed 3 times; the last one did not answer a synthetic task: result carries \
         nothing"
    );
    assert!(!world.done.iter().any(|command| matches!(command, Command::CutOver { moves, .. }
        if moves.iter().any(|m| m.agent.as_str() == "b" && m.to > InstanceId(4)))));
}

#[test]
fn a_green_that_never_answers_is_given_its_time_and_no_more() {
    let mut world = proving();
    let Some(Is::Proving { instance }) = green(&world, "a") else { panic!("{:?}", green(&world, "a")) };
    let began = world.now.mono;
    world.until("it is ended", |w| green(w, "a") == Some(Is::Stopping { instance, failed: true }));
    assert_eq!(world.now.mono.since(began), WITHIN + Millis(1));
    assert_eq!(world.finish(), State::RolledBack);
    let trigger = world.rollout().rollback.as_ref().unwrap().trigger.to_string();
    assert!(trigger.ends_with("did not answer a synthetic task within 10m"), "{trigger}");
}

#[test]
fn the_rest_of_the_batch_waits_and_a_person_can_give_up() {
    let mut world = proving();
    assert_eq!(world.state(), State::Progressing { phase: 0, step: Step::Warming { batch: 0 } });
    assert_eq!(world.sides(), [Some(Side::Blue); 2]);
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
    assert_eq!(world.controller.next_timeout(), None, "a deadline of the try-out is left");
}

#[test]
fn a_green_that_dies_while_it_is_tried_out_is_replaced_by_one_that_is_tried_out_too() {
    let mut world = proving();
    let first = green(&world, "a").and_then(Is::instance).unwrap();
    world.silent.clear();
    world.kill(first);
    assert_eq!(world.finish(), State::Committed);
    assert!(tried_out(&world).iter().any(|&instance| instance > first && instance == world.active("a")));
}

#[test]
fn a_green_that_was_ready_once_is_not_tried_out_again() {
    let mut world = World::rolling(2);
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.settle();
    let green = world.active("a");
    world.kill(green);
    world.silent.insert("a".into());
    world.until("green is back", |w| w.active("a") > green && w.sides()[0] == Some(Side::Green));
    assert!(!tried_out(&world).contains(&world.active("a")));
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_gateway_that_starts_anew_is_asked_again() {
    let mut world = proving();
    world.silent.clear();
    let asked = tried_out(&world).len();
    world.converge();
    world.until("it has been asked", |w| tried_out(w).len() > asked);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn an_answer_whose_report_was_lost_is_found_by_looking() {
    let mut world = proving();
    let instance = green(&world, "a").and_then(Is::instance).unwrap();
    world.gateway.tried.insert(instance);
    world.converge();
    assert_eq!(green(&world, "a"), Some(Is::Ready { instance }));
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn looking_again_and_again_gives_no_more_time() {
    let mut world = proving();
    let instance = green(&world, "a").and_then(Is::instance).unwrap();
    let began = world.now.mono;
    for _ in 0..4 {
        world.pass(Millis(WITHIN.0 / 5));
        world.converge();
        world.settle();
    }
    world.until("it is ended", |w| green(w, "a") == Some(Is::Stopping { instance, failed: true }));
    assert_eq!(world.now.mono.since(began), WITHIN + Millis(1));
}

#[test]
fn reports_that_come_twice_too_late_or_of_nobody_change_nothing() {
    let mut world = proving();
    let proving = green(&world, "a").and_then(Is::instance).unwrap();
    let blue = world.active("a");
    for (instance, fault) in
        [(blue, None), (blue, Some("bad")), (InstanceId(900), None), (InstanceId(900), Some("bad"))]
    {
        let before = world.controller.view(world.now);
        world.feed(Event::TriedOut { instance, fault: fault.map(Into::into) }).unwrap();
        assert_eq!(world.controller.view(world.now), before);
    }
    world.until("it is being ended", |w| matches!(green(w, "a"), Some(Is::Stopping { .. })));
    world.feed(Event::TriedOut { instance: proving, fault: None }).unwrap();
    assert_eq!(green(&world, "a"), Some(Is::Stopping { instance: proving, failed: true }));

    world.silent.clear();
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.settle();
    let active = world.active("a");
    let before = world.controller.view(world.now);
    for fault in [None, Some("bad")] {
        world.feed(Event::TriedOut { instance: active, fault: fault.map(Into::into) }).unwrap();
    }
    assert_eq!(world.controller.view(world.now), before, "what was ready stays so");
}

#[test]
fn what_is_asked_for_decides_whether_a_green_is_tried_out() {
    for (delivery, http, ready, expected) in [
        (Delivery::Pull, false, Readiness::default(), 2),
        (Delivery::Pull, false, Readiness::Poll, 0),
        (Delivery::Push { places: 2 }, true, Readiness::default(), 2),
        (Delivery::Push { places: 2 }, true, Readiness::Poll, 0),
        (Delivery::None, true, Readiness::default(), 0),
        (Delivery::None, false, Readiness::default(), 0),
    ] {
        let mut plan = delivered(http, delivery);
        for planned in plan.phases.iter_mut().flat_map(|phase| &mut phase.batches).flat_map(|batch| &mut batch.agents) {
            planned.ready = ready.clone();
        }
        let mut world = World::new(2);
        if delivery != Delivery::Pull {
            // It asks for nothing.
            world.mute.extend(["a", "b"].map(|agent| (agent.into(), Side::Green)));
        }
        world.start(plan).unwrap();
        assert_eq!(world.finish(), State::Committed, "{delivery:?} {ready:?}");
        assert_eq!(tried_out(&world).len(), expected, "{delivery:?} {ready:?}");
    }
}

#[test]
fn a_green_that_asks_for_tasks_and_has_health_has_begun_when_both_were_seen() {
    let begun = |w: &World| green(w, "a").is_some_and(|is| !matches!(is, Is::Enrolling { .. } | Is::Starting { .. }));
    let shown = |w: &World| match green(w, "a") {
        Some(Is::Starting { polled, healthy, .. }) => (polled, healthy),
        _ => (false, false),
    };
    let mut healthy_first = World::new(2);
    healthy_first.mute.insert(("a".into(), Side::Green));
    healthy_first.start(delivered(true, Delivery::Pull)).unwrap();
    healthy_first.until("it is healthy", |w| shown(w) == (false, true));
    let Some(Is::Starting { instance, .. }) = green(&healthy_first, "a") else { panic!("it starts") };
    healthy_first.feed(Event::Polled { instance }).unwrap();
    assert!(begun(&healthy_first));

    let mut asks_first = World::new(2);
    asks_first.start(delivered(true, Delivery::Pull)).unwrap();
    asks_first.until("it has asked", |w| shown(w) == (true, false));
    asks_first.settle();
    assert!(begun(&asks_first));
}

#[test]
fn health_is_asked_of_those_that_are_ready_and_have_an_endpoint() {
    let mut world = World::new(2);
    world.start(delivered(true, Delivery::Pull)).unwrap();
    assert_eq!(world.controller.ready_with_health().count(), 0, "the blues have none");
    world.until_state(State::Completed);
    world.settle();
    let [a, b] = ["a", "b"].map(AgentName::from);
    let asked: Vec<_> = world.controller.ready_with_health().collect();
    assert_eq!(asked, [(world.active("a"), &a, Side::Green), (world.active("b"), &b, Side::Green)]);
}

#[test]
fn a_green_that_can_show_nothing_is_ready_when_it_has_run_for_its_boot() {
    let mut world = World::new(2);
    world.mute.extend(["a", "b"].map(|agent| (agent.into(), Side::Green)));
    world.start(delivered(false, Delivery::None)).unwrap();
    world.until("green of a has started", |w| w.running.values().any(|(_, side)| *side == Side::Green));
    world.settle();
    let began = world.now.mono;
    world.until("green of a is ready", |w| matches!(green(w, "a"), Some(Is::Ready { .. })));
    assert_eq!(world.now.mono.since(began), Millis::from_secs(20) + Millis(1));
    world.dying.insert("b".into());
    assert_eq!(world.finish(), State::RolledBack, "one that dies does not come to that");
}

#[test]
fn standby_modes_and_try_outs_go_together() {
    for standby in [Standby::Warm, Standby::Frozen, Standby::Stopped] {
        let mut world = World::new(3);
        world.start(plan_with(3, standby, ThinEvidence::Accept)).unwrap();
        world.until_state(State::Completed);
        world.settle();
        let asked = tried_out(&world).len();
        world.verb(VerbKind::Rollback).unwrap();
        assert_eq!(world.finish(), State::RolledBack);
        assert_eq!(tried_out(&world).len(), asked, "a way back waits for no answer");
    }
}
