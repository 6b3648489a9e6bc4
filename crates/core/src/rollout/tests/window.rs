//! The window that a rollout has to be done in, and what happens when it closes before that (R20).

use super::world::{World, freeze, plan, plan_with, replay};
use crate::{
    analysis::Verdict,
    id::Side,
    plan::Standby,
    rollout::{PauseReason, State, Step, Trigger, VerbKind, WindowView},
    spec::{AtEnd, ThinEvidence},
    time::Millis,
};

const BAKING: State = State::Progressing { phase: 0, step: Step::Baking { look: 1 } };
const HELD: State = State::Progressing { phase: 0, step: Step::Held };

/// The baseline takes 60 minutes, each bake and the validation 30: 150 in all.
fn with(window: u64, at_end: AtEnd) -> World {
    let mut world = World::new(4);
    let mut plan = plan(4);
    (plan.window, plan.at_end) = (Some(Millis::from_mins(window)), at_end);
    world.start(plan).unwrap();
    world
}

fn until_closed(world: &mut World) {
    world.until("the window closes", |world| world.rollout().window_closed.is_some());
}

fn shown(world: &World) -> WindowView {
    world.controller.view(world.now).rollout.unwrap().window.unwrap()
}

#[test]
fn a_rollout_that_is_done_in_time_hears_nothing_of_its_window() {
    for at_end in [AtEnd::Pause, AtEnd::Rollback] {
        let mut world = with(151, at_end);
        assert_eq!(world.finish(), State::Committed);
        assert_eq!(world.rollout().window_closed, None);
    }
}

#[test]
fn what_is_planned_yet_is_the_rest_of_this_stage_and_all_that_follows() {
    let mut world = World::new(12);
    let mut plan = plan(12);
    plan.window = Some(Millis::from_mins(1000));
    // Six batches of two, three in each phase; moving them takes an hour, of which each is a sixth.
    plan.outlook.schedule.moving = Millis::from_mins(60);
    world.start(plan).unwrap();
    let planned = |world: &World| shown(world).planned.0 / 60_000;
    assert_eq!(planned(&world), 60 + 2 * 30 + 60 + 30);
    world.until_state(State::Progressing { phase: 0, step: Step::Warming { batch: 1 } });
    assert_eq!(planned(&world), 2 * 30 + 50 + 30);
    world.until_state(BAKING);
    world.pass(Millis::from_mins(10));
    assert_eq!(planned(&world), 20 + 30 + 30 + 30);
    world.until_state(State::Progressing { phase: 1, step: Step::Warming { batch: 2 } });
    assert_eq!(planned(&world), 30 + 10 + 30);
    world.until_state(State::Validating { judging: false });
    world.pass(Millis::from_mins(20));
    assert_eq!(planned(&world), 10);
    assert_eq!(world.finish(), State::Committed);
    assert_eq!(planned(&world), 0);
}

#[test]
fn a_phase_in_two_halves_has_half_of_its_bake_before_each() {
    let mut world = World::new(12);
    let mut plan = plan(12);
    plan.window = Some(Millis::from_mins(1000));
    plan.phases[0].second_half = Some(2);
    world.start(plan).unwrap();
    let planned = |world: &World| shown(world).planned.0 / 60_000;
    let warming = |batch| State::Progressing { phase: 0, step: Step::Warming { batch } };
    world.until_state(warming(1));
    assert_eq!(planned(&world), 30 + 30 + 30);
    world.until_state(State::Progressing { phase: 0, step: Step::Halfway { next: 2 } });
    world.pass(Millis::from_mins(5));
    assert_eq!(planned(&world), 10 + 15 + 30 + 30);
    world.until_state(warming(2));
    assert_eq!(planned(&world), 15 + 30 + 30);
}

#[test]
fn it_pauses_wherever_the_window_closes_and_a_person_lets_it_go_on() {
    for (window, state) in [(30, State::Preflight), (75, BAKING), (140, State::Validating { judging: false })] {
        let mut world = with(window, AtEnd::Pause);
        until_closed(&mut world);
        assert_eq!(world.state(), state);
        assert_eq!(world.rollout().paused, Some(PauseReason::WindowClosed));
        assert_eq!(shown(&world).left, Some(Millis::ZERO));
        world.verb(VerbKind::Resume).unwrap();
        assert_eq!(world.finish(), State::Committed, "nothing closes a second time");
        assert!(shown(&world).closed.is_some(), "it stays to be seen");
        assert_eq!(replay(&world.journal), world.controller);
    }
}

#[test]
fn what_is_paused_by_its_window_goes_on_judging_and_no_further() {
    let mut world = with(75, AtEnd::Pause);
    until_closed(&mut world);
    while world.message() || world.tick() {}
    assert_eq!(world.state(), HELD);
    assert_eq!(world.sides()[3], Some(Side::Blue));
    let mut world = with(75, AtEnd::Pause);
    world.verdicts.push_back(Verdict::Fail);
    assert_eq!(world.finish(), State::RolledBack);
}

#[test]
fn it_goes_back_wherever_the_window_closes_if_that_is_declared() {
    for window in [30, 75, 100, 140] {
        let mut world = with(window, AtEnd::Rollback);
        assert_eq!(world.finish(), State::RolledBack, "{window}");
        world.assert_all_served_by(Side::Blue);
        let trigger = world.rollout().rollback.clone().unwrap().trigger;
        assert_eq!(trigger, Trigger::WindowClosed { window: Millis::from_mins(window) });
        assert_eq!(trigger.to_string().lines().count(), 1);
        assert!(!trigger.blames_green(), "what green has begun it may finish");
    }
}

#[test]
fn the_window_of_a_paused_rollout_goes_on() {
    let mut world = with(100, AtEnd::Rollback);
    world.until_state(BAKING);
    world.verb(VerbKind::Pause).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    let mut world = with(100, AtEnd::Pause);
    world.until_state(BAKING);
    world.verb(VerbKind::Pause).unwrap();
    until_closed(&mut world);
    assert!(matches!(world.rollout().paused, Some(PauseReason::Asked { .. })), "who paused it is who to ask");
}

#[test]
fn a_freeze_spends_the_window_and_does_not_outlast_it() {
    let mut world = World::new(4);
    let mut plan = plan(4);
    plan.window = Some(Millis::from_mins(200));
    plan.freezes = vec![freeze(world.now.wall, 80, 500)];
    world.start(plan).unwrap();
    until_closed(&mut world);
    assert_eq!(world.rollout().paused, Some(PauseReason::WindowClosed));
    while world.message() || world.tick() {}
    assert_eq!(world.state(), HELD, "the end of the freeze lets nothing go on that a person has to decide on");
}

#[test]
fn a_question_that_is_open_stays_the_question_when_the_window_closes() {
    let mut world = World::new(4);
    let mut plan = plan_with(4, Standby::Warm, ThinEvidence::Ask);
    plan.window = Some(Millis::from_mins(180));
    world.start(plan).unwrap();
    world.verdicts.extend([Verdict::Inconclusive; 2]);
    until_closed(&mut world);
    assert_eq!(world.rollout().paused, Some(PauseReason::ThinEvidence));
}

#[test]
fn longer_bakes_and_pauses_spend_the_buffer() {
    let mut world = with(180, AtEnd::Pause);
    let buffer = |world: &World| shown(world).buffer().unwrap().0.div_ceil(60_000);
    assert_eq!(buffer(&world), 30);
    world.verdicts.push_back(Verdict::Inconclusive);
    world.until_state(BAKING);
    assert_eq!(buffer(&world), 30, "what goes as planned spends nothing");
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 2 } });
    assert_eq!(buffer(&world), 15, "the bake is half as long again");
    world.until_state(State::Progressing { phase: 1, step: Step::Baking { look: 1 } });
    world.verb(VerbKind::Pause).unwrap();
    world.until_state(State::Progressing { phase: 1, step: Step::Held });
    world.pass(Millis::from_mins(10));
    assert_eq!(buffer(&world), 5);
    world.pass(Millis::from_mins(10));
    assert_eq!(buffer(&world), 0);
}

#[test]
fn a_window_outlives_its_controller_with_what_is_left_of_it() {
    let mut world = with(100, AtEnd::Pause);
    world.until_state(BAKING);
    let left = shown(&world).left.unwrap();
    world.pass(Millis::from_mins(5));
    world.crash();
    let since = Millis::from_mins(5) + Millis(300);
    assert_eq!(shown(&world).left.unwrap().0 / 1000, (left - since).0 / 1000);
    until_closed(&mut world);
}

#[test]
fn the_window_of_one_rollout_is_not_that_of_the_next() {
    let mut world = with(400, AtEnd::Rollback);
    world.until_state(BAKING);
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    world.start(plan(4)).unwrap();
    assert_eq!(world.finish(), State::Committed);
    assert_eq!(world.rollout().window_closed, None);
}
