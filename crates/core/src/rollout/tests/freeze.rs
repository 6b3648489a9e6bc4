//! Freeze windows: nothing begins in one and nothing goes further, what goes back does, and no clock that jumps
//! loses a rollout.

use std::collections::BTreeSet;

use super::world::{World, freeze, plan, plan_with, replay};
use crate::{
    analysis::Verdict,
    id::Side,
    plan::{FreezeOverride, Plan, Standby},
    rollout::{Command, Event, Only, PauseReason, Refusal, State, Step, Verb, VerbKind},
    spec::{OnSharedFault, ThinEvidence},
    time::{Millis, UnixMillis},
    watch::{Alarm, AlarmKind},
};

const HELD: State = State::Progressing { phase: 0, step: Step::Held };
const FIRST: State = State::Progressing { phase: 0, step: Step::Warming { batch: 0 } };
const SECOND: State = State::Progressing { phase: 1, step: Step::Warming { batch: 0 } };
const BAKING: State = State::Progressing { phase: 0, step: Step::Baking { look: 1 } };

/// Four agents in two phases; the baseline takes 60 minutes, each bake and the validation 30, and blue is held for 60.
fn with(windows: &[(u64, u64)]) -> World {
    let mut world = World::new(4);
    let plan = among(plan(4), &world, windows);
    world.start(plan).unwrap();
    world
}

fn among(mut plan: Plan, world: &World, windows: &[(u64, u64)]) -> Plan {
    plan.freezes = windows.iter().map(|&(from, to)| freeze(world.now.wall, from, to)).collect();
    plan
}

fn is_frozen(world: &World) -> bool {
    matches!(world.rollout().paused, Some(PauseReason::Frozen { .. }))
}

fn until_frozen(world: &mut World) {
    world.until("a freeze", is_frozen);
    world.settle();
}

fn minutes(world: &World, since: UnixMillis) -> u64 {
    world.now.wall.since(since).0 / 60_000
}

/// What changes the fleet on the way forward.
fn moves(command: &Command) -> bool {
    match command {
        Command::Enrol { .. } | Command::Start { .. } | Command::CutOver { .. } | Command::Settle { .. } => true,
        Command::Stop { .. }
        | Command::Freeze { .. }
        | Command::Thaw { .. }
        | Command::Probe { .. }
        | Command::TryOut { .. }
        | Command::Lost { .. }
        | Command::Retire { .. }
        | Command::Observe
        | Command::OpenWindow { .. }
        | Command::MeasureBaseline { .. }
        | Command::CheckBlue { .. }
        | Command::Judge { .. } => false,
    }
}

#[test]
fn a_start_in_a_freeze_is_refused_by_name() {
    let mut world = World::new(2);
    let plan = among(plan(2), &world, &[(0, 10), (0, 300)]);
    let before = world.controller.clone();
    let refused = world.start(plan.clone());
    // Of two that are open the one that ends last: at the end of the other a start would be refused again.
    let expected = Refusal::Frozen { what: "start a rollout", name: "freeze at 0".into(), ends: "minute 300".into() };
    assert_eq!(refused, Err(expected));
    assert_eq!(world.controller, before);
    world.pass(Millis::from_mins(300));
    world.start(plan).unwrap();
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_start_that_somebody_answers_for_heeds_no_freeze() {
    let mut world = World::new(4);
    let began = world.now.wall;
    let mut plan = among(plan(4), &world, &[(0, 100), (115, 9000)]);
    plan.freeze_override = Some(FreezeOverride { by: "ann".into(), why: "hotfix".into() });
    world.start(plan).unwrap();
    assert_eq!(world.finish(), State::Committed);
    assert_eq!(minutes(&world, began), 60 + 30 + 30 + 30 + 60, "nothing was waited for");
    let view = world.controller.view(world.now).rollout.unwrap();
    assert_eq!(view.freeze_override.map(|over| over.why), Some("hotfix".into()));
}

#[test]
fn a_freeze_that_begins_at_any_moment_moves_nobody_and_is_waited_out() {
    const LENGTH: u64 = 600;
    for from in (1..=210).chain([240]) {
        for halves in [false, true] {
            let mut world = World::new(4);
            let mut plan = among(plan(4), &world, &[(from, from + LENGTH)]);
            if halves {
                let other = plan.phases[1].batches[0].clone();
                plan.phases[0].batches.push(other);
                plan.phases[0].second_half = Some(1);
                plan.phases.truncate(1);
            }
            let window = plan.freezes[0].clone();
            world.start(plan).unwrap();
            let mut done = 0;
            while !world.state().is_over() {
                assert!(world.message() || world.tick(), "it stands still with a freeze from {from}");
                let inside = window.from <= world.now.wall && world.now.wall < window.to;
                let moved: Vec<&Command> =
                    world.done[done..].iter().filter(|command| inside && moves(command)).collect();
                assert!(moved.is_empty(), "in a freeze from minute {from}: {moved:?}");
                assert!(!(inside && world.rollout().committing), "blue is given up in a freeze from minute {from}");
                done = world.done.len();
            }
            assert_eq!(world.finish(), State::Committed, "a freeze from minute {from}");
            assert_eq!(replay(&world.journal), world.controller);
        }
    }
}

#[test]
fn each_step_says_what_it_waits_for_and_goes_on_by_itself() {
    for (window, state) in [((50, 500), FIRST), ((80, 500), HELD)] {
        let mut world = with(&[window]);
        let began = world.rollout().started;
        until_frozen(&mut world);
        assert_eq!(world.state(), state);
        let until = began + Millis::from_mins(window.1);
        let name = format!("freeze at {}", window.0);
        assert_eq!(world.rollout().paused, Some(PauseReason::Frozen { name, until, ends: "minute 500".into() }));
        world.until("the end of the freeze", |world| !is_frozen(world));
        assert_eq!(minutes(&world, began), window.1, "not earlier, and not later");
        assert_eq!(world.finish(), State::Committed);
    }
}

#[test]
fn greens_that_become_ready_in_a_freeze_get_no_traffic_before_its_end() {
    let mut world = World::new(2);
    let mut plan = plan(2);
    plan.freezes = vec![freeze(world.now.wall, 61, 300)];
    // One minute from the end of the baseline to the freeze; the green answers its synthetic task later than that.
    world.silent.insert("a".into());
    world.start(plan).unwrap();
    world.until_state(FIRST);
    world.settle();
    world.pass(Millis::from_mins(2));
    let green = *world.running.iter().find(|(_, (_, side))| *side == Side::Green).unwrap().0;
    world.feed(Event::TriedOut { instance: green, fault: None }).unwrap();
    assert!(is_frozen(&world));
    assert_eq!(world.sides(), [Some(Side::Blue); 2]);
    world.gateway.tried.insert(green);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn windows_that_follow_each_other_are_waited_out_together() {
    let mut world = with(&[(80, 300), (200, 400), (400, 500)]);
    let began = world.rollout().started;
    until_frozen(&mut world);
    world.until("the end of all", |world| !is_frozen(world));
    assert_eq!(minutes(&world, began), 500);
}

#[test]
fn it_goes_on_judging_in_a_freeze() {
    let mut world = with(&[(65, 9000)]);
    world.verdicts.push_back(Verdict::Fail);
    assert_eq!(world.finish(), State::RolledBack);
    let mut world = with(&[(65, 9000)]);
    until_frozen(&mut world);
    assert_eq!(world.state(), HELD);
    assert!(world.rollout().phases[0].report.is_some(), "the phase was judged");
}

#[test]
fn the_last_phase_is_validated_in_a_freeze_and_blue_is_held_over_it() {
    // The freeze begins in the last phase, or in the validation.
    for from in [100, 130] {
        let mut world = with(&[(from, 1000)]);
        let began = world.rollout().started;
        world.until_state(State::Completed);
        assert_eq!(minutes(&world, began), 150);
        until_frozen(&mut world);
        assert_eq!(minutes(&world, began), 210);
        assert_eq!(world.running.len(), 8, "blue is there");
        assert_eq!(world.finish(), State::Committed);
        assert_eq!(minutes(&world, began), 1000);
        assert_eq!(world.rollout().paused, None);
    }
}

#[test]
fn blue_can_be_given_up_by_hand_and_gone_back_to_in_a_freeze() {
    for (verb, end) in [(VerbKind::Commit, State::Committed), (VerbKind::Rollback, State::RolledBack)] {
        let mut world = with(&[(130, 9000)]);
        let began = world.rollout().started;
        world.until_state(State::Completed);
        until_frozen(&mut world);
        world.verb(verb).unwrap();
        assert_eq!(world.finish(), end);
        assert!(minutes(&world, began) < 9000);
        assert_eq!(world.rollout().paused, None);
    }
}

#[test]
fn a_commit_by_hand_that_waits_for_a_green_is_not_taken_back_by_a_freeze() {
    let mut world = with(&[(130, 9000)]);
    world.until_state(State::Completed);
    world.settle();
    world.pass(Millis(59 * 60_000 + 55_000));
    world.mute.insert(("a".into(), Side::Green));
    let green = world.active("a");
    world.kill(green);
    world.verb(VerbKind::Commit).unwrap();
    world.settle();
    assert_eq!(world.state(), State::Completed, "blue stands in for the green that is away");
    world.pass(Millis(6_000));
    world.feed(Event::Tick).unwrap();
    assert!(world.rollout().committing && !is_frozen(&world));
}

#[test]
fn a_rollback_and_a_part_of_one_wait_for_nothing() {
    let mut world = with(&[(80, 9000)]);
    until_frozen(&mut world);
    let only = Some(Only::Agents(BTreeSet::from(["a".into()])));
    let (verb, rollout) = (VerbKind::Rollback, world.rollout().id);
    let part = Verb { only, ..Verb::new(verb, rollout, "ann", "") };
    world.feed(Event::Verb(part)).unwrap();
    world.settle();
    assert_eq!(world.sides()[0], Some(Side::Blue));
    assert!(is_frozen(&world), "the rest still waits");
    world.verb(VerbKind::Rollback).unwrap();
    let began = world.now.wall;
    assert_eq!(world.finish(), State::RolledBack);
    assert_eq!(minutes(&world, began), 0);
}

#[test]
fn a_person_cannot_push_on_in_a_freeze_without_answering_for_it() {
    for (at, verb) in [(BAKING, VerbKind::Promote), (HELD, VerbKind::Promote), (HELD, VerbKind::Resume)] {
        let reach = || {
            let mut world = with(&[(65, 9000)]);
            world.until_state(at);
            world.settle();
            world.pass(Millis::from_mins(6));
            world
        };
        let mut world = reach();
        let before = world.controller.clone();
        let refusal = world.verb(verb).unwrap_err();
        assert_eq!(world.controller, before);
        assert!(matches!(&refusal, Refusal::Frozen { ends, .. } if ends == "minute 9000"), "{refusal}");
        assert!(refusal.to_string().contains("--override-freeze"), "{refusal}");

        world.verb_over(verb).unwrap();
        let over = FreezeOverride { by: "bob".into(), why: "hotfix".into() };
        assert_eq!(world.rollout().freeze_override, Some(over));
        let began = world.now.wall;
        assert_eq!(world.finish(), State::Committed);
        assert!(minutes(&world, began) < 300, "it holds for the rest of the rollout");
        assert_eq!(replay(&world.journal), world.controller);
    }
}

#[test]
fn an_override_where_there_is_nothing_to_override_is_told() {
    let mut world = with(&[(80, 9000)]);
    for verb in [VerbKind::Pause, VerbKind::Rollback] {
        assert_eq!(world.verb_over(verb), Err(Refusal::NeverFrozen(verb.as_str())));
    }
    world.until_state(BAKING);
    world.verb_over(VerbKind::Resume).unwrap();
    assert!(world.rollout().freeze_override.is_some(), "ahead of the freeze");
}

#[test]
fn a_pause_by_hand_outlasts_the_freeze_and_a_resume_in_it_waits_for_its_end() {
    let mut world = with(&[(80, 300)]);
    until_frozen(&mut world);
    world.verb(VerbKind::Pause).unwrap();
    assert!(matches!(world.rollout().paused, Some(PauseReason::Asked { .. })));
    world.pass(Millis::from_mins(60));
    world.verb(VerbKind::Resume).unwrap();
    assert!(is_frozen(&world), "{:?}", world.rollout().paused);
    world.verb(VerbKind::Pause).unwrap();
    world.pass(Millis::from_mins(300));
    while world.tick() {}
    assert_eq!(world.state(), HELD, "nobody resumed it");
    world.verb(VerbKind::Resume).unwrap();
    assert_eq!(world.state(), SECOND);
}

#[test]
fn what_needs_a_person_needs_one_after_the_freeze_as_well() {
    let mut world = World::new(4);
    let mut plan = among(plan_with(4, Standby::Warm, ThinEvidence::Accept), &world, &[(80, 300)]);
    plan.triggers.on_shared_fault = OnSharedFault::Hold;
    world.start(plan).unwrap();
    until_frozen(&mut world);
    let alarm = Alarm {
        kind: AlarmKind::ModelServer,
        shared: true,
        harm_began: world.now.wall,
        agents: Vec::new(),
        types: Vec::new(),
        why: "calls fail".into(),
        figures: Vec::new(),
    };
    let rollout = world.rollout().id;
    world.feed(Event::Alarm { rollout, alarm: Box::new(alarm) }).unwrap();
    while world.tick() {}
    assert!(matches!(world.rollout().paused, Some(PauseReason::SharedFault { .. })));
}

#[test]
fn a_wall_clock_that_is_set_forward_ends_a_freeze_within_minutes() {
    let mut world = with(&[(80, 3000)]);
    until_frozen(&mut world);
    let mono = world.now.mono;
    world.now.wall = world.now.wall + Millis::from_mins(4000);
    world.until("the next phase", |world| world.state() == SECOND);
    assert!(world.now.mono.since(mono) <= Millis::from_mins(6));
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_wall_clock_that_is_set_back_makes_a_freeze_longer_and_no_more() {
    for crash in [false, true] {
        let mut world = with(&[(80, 300)]);
        let began = world.rollout().started;
        until_frozen(&mut world);
        let until = began + Millis::from_mins(300);
        world.pass(Millis::from_mins(200));
        world.now.wall = UnixMillis(world.now.wall.0 - 150 * 60_000);
        if crash {
            world.crash();
        }
        world.until("the next phase", |world| world.state() == SECOND);
        assert_eq!(world.now.wall.since(until).0 / 60_000, 0, "by the clock that people see");
        assert_eq!(world.finish(), State::Committed);
    }
}

#[test]
fn a_wall_clock_that_leaves_a_freeze_backwards_leaves_it() {
    let mut world = with(&[(80, 300)]);
    until_frozen(&mut world);
    world.now.wall = UnixMillis(world.now.wall.0 - 60 * 60_000);
    world.until("the next phase", |world| world.state() == SECOND);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_controller_that_was_away_for_the_whole_freeze_goes_on() {
    let mut world = with(&[(80, 5000)]);
    until_frozen(&mut world);
    world.pass(Millis::from_mins(6000));
    world.crash();
    world.until("the next phase", |world| world.state() == SECOND);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_plan_that_was_journaled_before_there_were_freezes_still_reads() {
    let mut text = serde_json::to_value(plan(2)).unwrap();
    let fields = text.as_object_mut().unwrap();
    for field in ["freezes", "freeze_override", "window", "at_end"] {
        fields.remove(field);
    }
    assert_eq!(serde_json::from_value::<Plan>(text).unwrap(), plan(2));
}
