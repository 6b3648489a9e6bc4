//! A wall clock that is set while a rollout is under way.

use super::world::{BAKE, World, replay};
use crate::{
    id::Side,
    rollout::{Event, RollbackStep, State, Step, VerbKind},
    time::{ClockJump, ClockWatch, Millis, UnixMillis},
};

const JUMPS: [ClockJump; 2] = [
    ClockJump { forward: true, by: Millis::from_mins(8 * 60) },
    ClockJump { forward: false, by: Millis::from_mins(8 * 60) },
];

/// The clock shows another time, and the controller is told as its shell tells it.
fn set_clock(world: &mut World, jump: ClockJump) {
    let mut watch = ClockWatch::default();
    assert_eq!(watch.look(world.now), None);
    world.now.wall = jump.move_along(world.now.wall);
    let seen = watch.look(world.now).expect("it is noticed");
    assert_eq!(seen, jump);
    world.feed(Event::ClockJumped { jump: seen }).unwrap();
}

/// With a wall clock far enough from 1970 to go back.
fn rolling() -> World {
    let mut world = World::new(4);
    world.now.wall = UnixMillis(1_700_000_000_000);
    let plan = super::world::plan(4);
    world.start(plan).unwrap();
    world
}

#[test]
fn a_bake_takes_as_long_as_it_should_whatever_the_clock_shows() {
    for jump in JUMPS {
        let mut world = rolling();
        world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
        world.settle();
        let began = world.now.mono;
        world.pass(Millis::from_mins(10));
        set_clock(&mut world, jump);
        world.until_state(State::Progressing { phase: 0, step: Step::Gate { look: 1 } });
        let baked = world.now.mono.since(began);
        assert!(baked >= BAKE && baked < BAKE + Millis::from_secs(5), "{jump}: {baked}");
        world.until("all on green", |world| matches!(world.state(), State::Completed));
        assert_eq!(world.rollout().clock_jumps.len(), 1);
        assert_eq!(replay(&world.journal), world.controller);
    }
}

#[test]
fn the_limits_of_a_rollback_are_measured_by_time_that_passed() {
    for jump in JUMPS {
        let mut world = rolling();
        world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
        world.settle();
        world.verb(VerbKind::Rollback).unwrap();
        world.pass(Millis::from_secs(3));
        set_clock(&mut world, jump);
        world.until_state(State::RollingBack { step: RollbackStep::Validate });
        set_clock(&mut world, ClockJump { forward: !jump.forward, ..jump });
        world.finish();
        world.assert_all_served_by(Side::Blue);
        let undone = world.rollout().rollback.clone().unwrap();
        let in_all = undone.end_to_end().unwrap();
        assert!(in_all >= Millis::from_secs(3) && in_all < Millis::from_mins(3), "{jump}: {in_all}");
        assert!(undone.execution().unwrap() <= in_all && undone.validation().unwrap() <= in_all, "{undone:?}");
    }
}

#[test]
fn a_clock_that_is_set_after_the_end_changes_nothing_of_what_was() {
    let mut world = rolling();
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.verb(VerbKind::Rollback).unwrap();
    world.finish();
    let before = world.rollout().clone();
    set_clock(&mut world, JUMPS[0]);
    assert_eq!(*world.rollout(), before);
}

#[test]
fn a_clock_that_never_rests_is_noted_so_often_and_no_more() {
    let mut world = rolling();
    for n in 0..40 {
        set_clock(&mut world, JUMPS[n % JUMPS.len()]);
    }
    assert_eq!(world.rollout().clock_jumps.len(), 32);
}
