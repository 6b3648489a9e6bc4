//! What a rollout makes of instances that die, at the worst moments.

use std::collections::BTreeSet;

use super::world::{World, plan_with, scarce_plan};
use crate::{
    id::{AgentName, InstanceId, Side},
    plan::Standby,
    rollout::{Command, Event, Is, State, Step, Trigger, VerbKind},
    spec::ThinEvidence,
    time::Millis,
};

const BAKING: State = State::Progressing { phase: 0, step: Step::Baking { look: 1 } };

#[test]
fn a_green_that_dies_once_is_replaced_and_gets_its_traffic_back() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    world.settle();
    let green = world.active("a");
    world.kill(green);
    world.settle();
    assert_eq!(world.sides()[0], Some(Side::Blue), "blue stands in");
    world.until("green is back", |w| w.sides()[0] == Some(Side::Green));
    assert!(world.active("a") > green, "an instance number is used once");
    assert_eq!(world.finish(), State::Committed);
    world.assert_all_served_by(Side::Green);
}

#[test]
fn a_green_that_dies_again_and_again_rolls_the_rollout_back() {
    let mut world = World::rolling(4);
    world.dying.insert("b".into());
    assert_eq!(world.finish(), State::RolledBack);
    let trigger = &world.rollout().rollback.as_ref().unwrap().trigger;
    assert!(matches!(trigger, Trigger::CrashLoop { agent, exits: 3, .. } if agent.as_str() == "b"), "{trigger:?}");
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn the_only_green_in_a_crash_loop_leaves_nothing_to_wait_for() {
    let mut world = World::rolling(2);
    world.dying.insert("a".into());
    world.until("the rollback", |w| matches!(w.state(), State::RollingBack { .. } | State::RolledBack));
    let began = world.now.mono;
    assert_eq!(world.finish(), State::RolledBack);
    assert!(world.now.mono.since(began) < Millis::from_secs(60), "it waited for a deadline");
}

#[test]
fn a_green_that_never_becomes_ready_rolls_the_rollout_back() {
    let mut world = World::rolling(4);
    world.mute.insert(("a".into(), Side::Green));
    assert_eq!(world.finish(), State::RolledBack);
    let trigger = &world.rollout().rollback.as_ref().unwrap().trigger;
    assert!(matches!(trigger, Trigger::CrashLoop { agent, .. } if *agent == AgentName::from("a")), "{trigger:?}");
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn deaths_of_an_earlier_phase_do_not_count() {
    let mut world = World::rolling(4);
    for phase in 0..2 {
        world.until_state(State::Progressing { phase, step: Step::Baking { look: 1 } });
        for _ in 0..2 {
            world.settle();
            let green = world.active("a");
            world.kill(green);
            world.until("green is back", |w| w.sides()[0] == Some(Side::Green));
        }
    }
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_blue_that_dies_beside_a_rollout_does_not_end_it() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    world.settle();
    for _ in 0..5 {
        let blue = world.active("d");
        world.kill(blue);
        world.until("blue is back", |w| w.active("d") > blue && w.sides()[3].is_some());
    }
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn only_a_blue_that_is_kept_warm_is_fallen_back_to() {
    for standby in [Standby::Warm, Standby::Frozen, Standby::Stopped] {
        let mut world = World::new(2);
        world.start(plan_with(2, standby, ThinEvidence::Accept)).unwrap();
        world.until_state(BAKING);
        let blue = blue_of(&world, "a").instance();
        let green = world.active("a");
        world.kill(green);
        world.settle();
        assert_eq!(Some(world.active("a")) == blue, standby == Standby::Warm, "{standby:?}");
        assert_eq!(world.finish(), State::Committed);
    }
}

#[test]
fn a_blue_is_not_stopped_while_the_green_that_relieved_it_is_away() {
    let mut world = World::new(2);
    world.clinging = true;
    world.start(plan_with(2, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world.until_state(BAKING);
    let blue = blue_of(&world, "a").instance().unwrap();
    let green = world.active("a");
    world.mute.insert(("a".into(), Side::Green));
    world.kill(green);
    world.feed(Event::Empty { instance: blue, revoked: 0 }).unwrap();
    world.settle();
    assert!(world.running.contains_key(&blue));
    world.mute.clear();
    world.until("green serves and blue has ended", |w| !w.running.contains_key(&blue));
    assert_eq!(world.sides()[0], Some(Side::Green));
}

#[test]
fn a_green_that_waits_to_be_restarted_at_the_commit_is_restarted_after_it() {
    let mut world = World::rolling(2);
    world.until_state(State::Completed);
    world.settle();
    let green = world.active("a");
    world.kill(green);
    world.settle();
    world.verb(VerbKind::Commit).unwrap();
    world.settle();
    assert_eq!((world.state(), world.sides()[0]), (State::Completed, Some(Side::Blue)), "blue is still needed");
    assert_eq!(world.finish(), State::Committed);
    world.assert_all_served_by(Side::Green);
}

#[test]
fn a_commit_waits_for_what_blue_still_works_on() {
    let mut world = World::rolling(2);
    world.until_state(State::Completed);
    world.settle();
    let green = world.active("a");
    world.kill(green);
    world.clinging = true;
    world.until("green is back", |w| w.active("a") > green && w.sides()[0] == Some(Side::Green));
    world.verb(VerbKind::Commit).unwrap();
    world.settle();
    assert_eq!(world.state(), State::Completed);
    assert_eq!(world.running.len(), 4);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_blue_that_waits_to_be_restarted_at_the_commit_does_not_touch_green() {
    let mut world = World::rolling(2);
    world.until_state(State::Completed);
    world.settle();
    let blue = blue_of(&world, "a").instance().unwrap();
    world.kill(blue);
    world.verb(VerbKind::Commit).unwrap();
    assert_eq!(world.finish(), State::Committed);
    world.assert_all_served_by(Side::Green);
    assert_eq!(world.controller.next_timeout(), None, "a deadline of the former blue is left");
}

#[test]
fn a_target_that_dies_during_its_cutover_is_replaced() {
    let mut world = World::rolling(2);
    world.until("a cutover to green", |w| {
        matches!(w.state(), State::Progressing { step: Step::CuttingOver { .. }, .. })
            && w.todo.iter().any(|command| matches!(command, Command::CutOver { .. }))
    });
    let green = world.todo.iter().find_map(|command| match command {
        Command::CutOver { moves, .. } => Some(moves[0].to),
        _ => None,
    });
    let green: InstanceId = green.unwrap();
    world.kill(green);
    assert_eq!(world.finish(), State::Committed);
    world.assert_all_served_by(Side::Green);
}

#[test]
fn another_generation_at_the_gateway_is_found_out_by_looking() {
    let mut world = World::rolling(2);
    world.until("a cutover", |w| w.todo.iter().any(|command| matches!(command, Command::CutOver { .. })));
    // The gateway moved on by itself, and its report was lost.
    world.gateway.generation = world.gateway.generation.next();
    assert_eq!(world.finish(), State::Committed);
    world.assert_all_served_by(Side::Green);
}

#[test]
fn nothing_is_moved_between_a_stale_cutover_and_the_look_at_the_world() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    world.settle();
    let standing = world.controller.generation().next();
    world.gateway.generation = standing;
    world.feed(Event::CutOverStale { standing }).unwrap();
    let green = world.active("a");
    world.kill(green);
    world.until("the look", |w| matches!(w.journal.last(), Some((_, Event::Converge { .. }))));
    let cutovers = world.done.iter().rev().take_while(|command| **command != Command::Observe);
    assert!(!cutovers.into_iter().any(|command| matches!(command, Command::CutOver { .. })));
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_report_of_an_older_generation_does_not_undo_a_newer_one() {
    let mut world = World::rolling(2);
    world.until_state(BAKING);
    world.settle();
    let before = world.controller.clone();
    let generation = world.controller.generation();
    let green = world.active("a");
    let blue = blue_of(&world, "a").instance().unwrap();
    let old = crate::id::Generation(generation.0 - 1);
    world.feed(Event::FellBack { agent: "a".into(), from: green, to: blue, generation: old }).unwrap();
    assert_eq!(world.controller.view(world.now), before.view(world.now));
}

#[test]
fn an_answer_that_a_later_report_overtook_is_not_believed() {
    let mut world = World::rolling(2);
    world.until("a cutover to green", |w| w.todo.iter().any(|command| is_cut_over_to(command, 3)));
    world.todo.retain(|command| !is_cut_over_to(command, 3));
    let generation = world.controller.generation().next();
    world.gateway.generation = generation.next();
    let fell_back =
        Event::FellBack { agent: "a".into(), from: InstanceId(3), to: InstanceId(1), generation: generation.next() };
    world.feed(fell_back).unwrap();
    world.feed(Event::CutOver { generation }).unwrap();
    assert_eq!(world.sides()[0], Some(Side::Blue));
    assert_eq!(world.todo.back(), Some(&Command::Observe));
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_fall_back_that_is_heard_of_before_the_exit_moves_nothing_to_the_dead() {
    let mut world = World::rolling(2);
    world.until_state(BAKING);
    world.settle();
    let green = world.active("a");
    let blue = blue_of(&world, "a").instance().unwrap();
    let generation = world.controller.generation().next();
    // The supervisor told the gateway; its word for the controller is still on its way.
    world.gateway.generation = generation;
    world.gateway.routes.get_mut(&AgentName::from("a")).unwrap().to = blue;
    world.done.clear();
    world.feed(Event::FellBack { agent: "a".into(), from: green, to: blue, generation }).unwrap();
    world.settle();
    assert_eq!(world.sides()[0], Some(Side::Blue));
    let moved = world.done.iter().any(|command| matches!(command, Command::CutOver { .. }));
    assert!(!moved, "{:?}", world.done);
    world.kill(green);
    world.until("a new green serves", |w| w.sides()[0] == Some(Side::Green));
    assert!(world.active("a") > green);
    let exits = world.controller.fleet.agents[&AgentName::from("a")].green.as_ref().unwrap().exits;
    assert_eq!(exits, 1, "one end, though two told of it");
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_controller_that_dies_between_the_fall_back_and_the_exit_goes_on() {
    let mut world = World::rolling(2);
    world.until_state(BAKING);
    world.settle();
    let green = world.active("a");
    let blue = blue_of(&world, "a").instance().unwrap();
    let generation = world.controller.generation().next();
    world.gateway.generation = generation;
    world.gateway.routes.get_mut(&AgentName::from("a")).unwrap().to = blue;
    world.running.remove(&green);
    world.feed(Event::FellBack { agent: "a".into(), from: green, to: blue, generation }).unwrap();
    world.crash();
    world.until("a new green serves", |w| w.sides()[0] == Some(Side::Green));
    assert!(world.active("a") > green);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn emptiness_that_is_reported_before_the_cutover_is_not_waited_for() {
    let mut world = World::new(2);
    world.clinging = true;
    world.start(plan_with(2, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world.until("a cutover to green", |w| w.todo.iter().any(|command| is_cut_over_to(command, 3)));
    world.feed(Event::Empty { instance: InstanceId(1), revoked: 0 }).unwrap();
    assert!(world.running.contains_key(&InstanceId(1)));
    world.settle();
    assert!(!world.running.contains_key(&InstanceId(1)), "it waits for the drain limit");
}

fn is_cut_over_to(command: &Command, instance: u64) -> bool {
    matches!(command, Command::CutOver { moves, .. } if moves.iter().any(|m| m.to == InstanceId(instance)))
}

fn scarce() -> World {
    let mut world = World::new(6);
    world.clinging = true;
    world.running_max = 8;
    world.start(scarce_plan(6, 8)).unwrap();
    world
}

#[test]
fn greens_wait_for_room_until_the_blues_before_them_have_ended() {
    let mut world = scarce();
    assert_eq!(world.finish(), State::Committed);
    world.assert_all_served_by(Side::Green);
}

#[test]
fn a_way_back_without_room_for_all_goes_in_the_reverse_order_and_within_the_room() {
    let mut world = scarce();
    world.until_state(State::Completed);
    world.settle();
    assert_eq!(world.running.len(), 6);
    world.verb(VerbKind::Rollback).unwrap();
    let began = world.done.len();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
    let back = world.done[began..].iter().filter_map(|command| match command {
        Command::Start { agent, .. } => Some(agent.to_string()),
        _ => None,
    });
    let back: Vec<String> = back.collect();
    assert_eq!(back.len(), 6);
    assert!(back[..2].iter().all(|agent| "ef".contains(agent)), "{back:?}");
}

#[test]
fn on_a_way_back_without_room_sixteen_agents_at_most_are_without_an_instance() {
    let mut world = World::new(24);
    world.running_max = 26;
    world.start(scarce_plan(24, 26)).unwrap();
    world.until_state(State::Completed);
    world.settle();
    world.verb(VerbKind::Rollback).unwrap();
    let mut most = 0;
    while world.message() {
        let there: BTreeSet<&AgentName> = world.running.values().map(|(agent, _)| agent).collect();
        most = most.max(24 - there.len());
    }
    assert_eq!(most, 16);
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn a_blue_that_is_no_longer_wanted_back_gives_up_its_room() {
    let mut world = scarce();
    world.until_state(State::Progressing { phase: 0, step: Step::CuttingOver { batch: 0 } });
    let blue = world.active("a");
    world.kill(blue);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn what_dies_keeps_its_room_until_it_is_back() {
    let mut world = scarce();
    world.until_state(State::Progressing { phase: 0, step: Step::Warming { batch: 1 } });
    // Two blues drain, so the next greens wait for their room; one that dies now must not lose its own to them.
    let green = world.active("a");
    world.kill(green);
    world.until("green is back", |w| w.active("a") > green);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn what_ends_again_and_again_waits_twice_as_long_each_time_until_it_was_steady() {
    let mut world = World::new(1);
    let mut waits = Vec::new();
    let mut dies = |world: &mut World| {
        let blue = world.active("a");
        world.kill(blue);
        waits.push(world.controller.next_timeout().map(|at| at.since(world.now.mono)));
        world.until("it is back", |w| w.active("a") > blue && w.sides() == [Some(Side::Blue)]);
        world.settle();
    };
    (0..10).for_each(|_| dies(&mut world));
    world.pass(Millis::from_secs(59));
    dies(&mut world);
    world.pass(Millis::from_secs(60));
    dies(&mut world);
    let expected = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000, 200];
    assert_eq!(waits, expected.map(|millis| Some(Millis(millis))));
}

#[test]
fn instances_that_nobody_knows_are_stopped() {
    let mut world = World::new(1);
    let stray = InstanceId(900);
    world.running.insert(stray, ("a".into(), Side::Green));
    world.converge();
    world.settle();
    assert!(!world.running.contains_key(&stray));
    assert_eq!(world.running.len(), 1);
}

#[test]
fn a_rollback_that_does_not_end_in_time_needs_a_person_and_can_be_tried_again() {
    let mut world = World::new(2);
    world.start(plan_with(2, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world.until_state(BAKING);
    world.settle();
    world.mute.insert(("a".into(), Side::Blue));
    world.verb(VerbKind::Rollback).unwrap();
    world.until_state(State::NeedsAttention);
    world.mute.clear();
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}

fn blue_of(world: &World, agent: &str) -> Is {
    let view = world.controller.view(world.now);
    view.agents.iter().find(|view| view.name == AgentName::from(agent)).unwrap().blue.is
}
