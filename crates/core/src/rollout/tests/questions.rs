//! What the shells ask a controller: who sits where, what is ready, which rollouts there were.

use super::world::{BAKE, World, plan};
use crate::{
    id::{InstanceId, RolloutId, Side},
    rollout::{Command, Controller, Event, Is, State, Step, VerbKind, Window},
    time::Millis,
};

/// An instance that starts and never shows that it has begun.
fn starting() -> (World, InstanceId) {
    let mut world = World::rolling(2);
    world.mute.insert(("a".into(), Side::Green));
    world.until("green of a has started", |w| w.running.values().any(|(_, side)| *side == Side::Green));
    world.settle();
    (world, InstanceId(3))
}

#[test]
fn one_that_starts_has_not_begun_and_one_that_is_tried_out_is_not_ready() {
    let (mut world, green) = starting();
    assert_eq!(world.controller.seat_of(green), Some((&"a".into(), Side::Green)));
    assert_eq!((world.controller.has_begun(green), world.controller.is_ready(green)), (false, false));
    world.silent.insert("a".into());
    world.feed(Event::Polled { instance: green }).unwrap();
    assert_eq!((world.controller.has_begun(green), world.controller.is_ready(green)), (true, false));
    world.feed(Event::TriedOut { instance: green, fault: None }).unwrap();
    assert_eq!((world.controller.has_begun(green), world.controller.is_ready(green)), (true, true));
}

#[test]
fn nobody_sits_where_nobody_ever_sat() {
    let world = World::new(1);
    let nobody = InstanceId(900);
    assert_eq!(world.controller.seat_of(nobody), None);
    assert_eq!((world.controller.has_begun(nobody), world.controller.is_ready(nobody)), (false, false));
}

#[test]
fn a_number_that_a_seat_had_before_is_not_that_of_its_instance() {
    let mut world = World::new(1);
    let blue = world.active("a");
    world.kill(blue);
    world.until("blue is back", |w| w.active("a") > blue && w.sides() == [Some(Side::Blue)]);
    assert_eq!((world.controller.is_ready(blue), world.controller.is_ready(world.active("a"))), (false, true));
}

#[test]
fn agents_are_counted_that_no_ready_instance_serves() {
    let mut world = World::rolling(3);
    assert_eq!(world.controller.without_ready_instance(), 0);
    let blue = world.active("c");
    world.kill(blue);
    assert_eq!(world.controller.without_ready_instance(), 1);
    world.until_state(State::Completed);
    assert_eq!(world.sides(), [Some(Side::Green); 3]);
    assert_eq!(world.controller.without_ready_instance(), 0);
}

#[test]
fn a_question_touches_nothing() {
    let mut world = World::rolling(2);
    world.until_state(State::Completed);
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    let (questions, orders): (Vec<&Command>, Vec<&Command>) = world.done.iter().partition(|it| it.is_question());
    let asks = |command: &&&Command| {
        matches!(
            command,
            Command::OpenWindow { .. }
                | Command::MeasureBaseline { .. }
                | Command::Judge { .. }
                | Command::CheckBlue { .. }
        )
    };
    assert!(!questions.is_empty() && questions.iter().all(|command| asks(&command)), "{questions:?}");
    assert!(!orders.is_empty() && !orders.iter().any(|command| asks(&command)), "{orders:?}");
}

#[test]
fn what_is_left_of_a_stage_is_shown_while_it_lasts() {
    let mut world = World::rolling(2);
    let left = |w: &World| w.controller.view(w.now).rollout.and_then(|rollout| rollout.stage_left);
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    assert_eq!(left(&world), Some(BAKE));
    world.pass(Millis::from_mins(10));
    assert_eq!(left(&world), Some(BAKE - Millis::from_mins(10)));
    assert_eq!(world.finish(), State::Committed);
    assert_eq!(left(&world), None);
}

#[test]
fn phases_are_shown_with_what_is_known_of_them() {
    let mut world = World::rolling(5);
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    let phases = world.controller.view(world.now).rollout.unwrap().phases;
    let shown: Vec<_> =
        phases.iter().map(|it| (it.name.as_str(), it.agents, it.batches, it.record.is_some())).collect();
    assert_eq!(shown, [("canary", 2, 1, true), ("full", 3, 2, false)]);
}

#[test]
fn windows_bear_the_names_of_their_phases() {
    let names = [Window::Baseline, Window::Phase(0), Window::Phase(1), Window::Validation].map(|it| it.name(&plan(2)));
    assert_eq!(names, ["baseline", "canary", "full", "validation"]);
}

#[test]
fn one_that_has_ended_leaves_no_deadline_behind() {
    let mut world = World::new(1);
    world.clinging = true;
    let blue = world.active("a");
    world.kill(blue);
    world.until("blue is back", |w| w.active("a") > blue && w.sides() == [Some(Side::Blue)]);
    world.settle();
    assert_eq!(world.controller.next_timeout(), None);
}

#[test]
fn a_fleet_is_declared_once_it_has_agents() {
    assert!(!Controller::default().is_declared());
    assert!(World::new(1).controller.is_declared());
}

#[test]
fn rollouts_are_kept_and_the_revision_of_blue_is_that_of_the_last_commit() {
    let mut world = World::rolling(1);
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    assert_eq!(world.controller.blue_revision(&"a".into()).map(|it| it.as_str()), Some("v1"));
    world.start(plan(1)).unwrap();
    assert_eq!(world.finish(), State::Committed);
    assert_eq!(world.controller.blue_revision(&"a".into()).map(|it| it.as_str()), Some("v2"));
    let kept: Vec<RolloutId> = world.controller.rollouts().iter().map(|rollout| rollout.id).collect();
    assert_eq!(kept, [RolloutId(1), RolloutId(2)]);
    assert_eq!(world.controller.view(world.now).agents[0].blue.is, Is::Ready { instance: world.active("a") });
}
