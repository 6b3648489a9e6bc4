//! The controller is killed between any two messages. What it decided stands, and the end is the same.

use std::collections::BTreeMap;

use super::world::{BAKE, World, plan_with, replay};
use crate::{
    analysis::Verdict,
    id::{AgentName, InstanceId, Side},
    plan::Standby,
    rollout::{Command, Event, State, Step, VerbKind},
    spec::ThinEvidence,
    time::Millis,
};

type Script = fn() -> World;

fn healthy() -> World {
    let mut world = World::new(3);
    world.start(plan_with(3, Standby::Warm, ThinEvidence::Accept)).unwrap();
    world
}

fn stopped_standby() -> World {
    let mut world = World::new(3);
    world.clinging = true;
    world.start(plan_with(3, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world
}

fn harm_with_frozen_standby() -> World {
    let mut world = World::new(3);
    world.start(plan_with(3, Standby::Frozen, ThinEvidence::Accept)).unwrap();
    world.verdicts.extend([Verdict::Pass, Verdict::Fail, Verdict::Fail]);
    world
}

fn crash_loop() -> World {
    let mut world = World::new(3);
    world.start(plan_with(3, Standby::Warm, ThinEvidence::Accept)).unwrap();
    world.dying.insert("c".into());
    world
}

fn unfit_green() -> World {
    let mut world = World::new(3);
    world.start(plan_with(3, Standby::Warm, ThinEvidence::Accept)).unwrap();
    world.unfit.insert("c".into(), "result carries nothing");
    world
}

fn rollback_by_hand() -> World {
    let mut world = World::new(3);
    world.start(plan_with(3, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world.until_state(State::Completed);
    world.verb(VerbKind::Rollback).unwrap();
    world
}

const SCRIPTS: [(&str, Script, State); 6] = [
    ("healthy", healthy, State::Committed),
    ("stopped standby", stopped_standby, State::Committed),
    ("harm, frozen standby", harm_with_frozen_standby, State::RolledBack),
    ("crash loop", crash_loop, State::RolledBack),
    ("unfit green", unfit_green, State::RolledBack),
    ("rollback by hand", rollback_by_hand, State::RolledBack),
];

/// One message or one deadline.
fn one(world: &mut World) -> bool {
    world.message() || world.tick()
}

#[test]
fn a_crash_between_any_two_messages_does_not_change_the_end() {
    for (name, script, expected) in SCRIPTS {
        let mut at = 0;
        loop {
            let mut world = script();
            if !(0..at).all(|_| one(&mut world)) {
                break;
            }
            world.crash();
            assert_eq!(world.finish(), expected, "{name}: crash after {at} messages");
            world.assert_all_served_by(if expected == State::Committed { Side::Green } else { Side::Blue });
            at += 1;
        }
        assert!(at > 30, "{name}: only {at} crash points");
    }
}

#[test]
fn a_controller_that_crashes_all_the_time_still_comes_to_the_end() {
    for (name, script, expected) in SCRIPTS {
        for every in [7, 11, 23] {
            let mut world = script();
            let mut count = 0;
            while !world.state().is_over() {
                count += 1;
                assert!(count < 50_000, "{name}: no end with a crash after every {every} messages");
                if count % every == 0 {
                    world.crash();
                } else {
                    one(&mut world);
                }
            }
            assert_eq!(world.finish(), expected, "{name}, every {every}");
        }
    }
}

#[test]
fn a_link_that_breaks_between_any_two_messages_does_not_change_the_end() {
    for (name, script, expected) in SCRIPTS {
        let mut at = 0;
        loop {
            let mut world = script();
            if !(0..at).all(|_| one(&mut world)) {
                break;
            }
            world.lose_messages();
            world.converge();
            assert_eq!(world.finish(), expected, "{name}: messages lost after {at}");
            at += 1;
        }
    }
}

#[test]
fn a_replay_of_what_was_accepted_gives_an_equal_controller() {
    for (name, script, _) in SCRIPTS {
        let mut world = script();
        world.finish();
        assert_eq!(replay(&world.journal), world.controller, "{name}");
        for cut in (0..world.journal.len()).step_by(7) {
            let half = replay(&world.journal[..cut]);
            let again = replay(&world.journal[..cut]);
            assert_eq!(half, again);
        }
    }
}

#[test]
fn events_survive_being_written_down() {
    let mut world = harm_with_frozen_standby();
    world.finish();
    for (_, event) in &world.journal {
        let text = serde_json::to_string(event).unwrap();
        let back: Event = serde_json::from_str(&text).unwrap();
        assert_eq!(&back, event, "{text}");
    }
}

#[test]
fn a_gate_whose_window_was_never_opened_opens_it_before_it_judges() {
    let mut world = healthy();
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.todo.clear();
    world.pass(BAKE);
    world.feed(Event::Tick).unwrap();
    assert_eq!(world.state(), State::Progressing { phase: 0, step: Step::Gate { look: 1 } });
    world.todo.clear();
    world.crash();
    let questions: Vec<&Command> = world.todo.iter().filter(|command| command.is_question()).collect();
    assert!(matches!(questions[..], [Command::OpenWindow { .. }, Command::Judge { .. }]), "{questions:?}");
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn an_answer_given_twice_does_not_open_the_next_window() {
    let mut world = healthy();
    world.until_state(State::Progressing { phase: 1, step: Step::Warming { batch: 0 } });
    let rollout = world.rollout().id;
    world.feed(Event::WindowOpened { rollout, after_second: 7 }).unwrap();
    assert_eq!(world.rollout().phases[1].after_second, None);
}

#[test]
fn nothing_is_decided_between_a_restart_and_the_look_at_the_world() {
    let mut world = World::rolling(2);
    world.until("a cutover to green", |w| {
        w.state() == State::Progressing { phase: 0, step: Step::CuttingOver { batch: 0 } } && !w.todo.is_empty()
    });
    // The gateway carries it out, and the controller dies before it hears of it.
    world.message();
    world.controller = replay(&world.journal);
    world.feed(Event::Restarted).unwrap();
    world.forget_messages();
    world.verb(VerbKind::Rollback).unwrap();
    assert!(world.todo.is_empty(), "green is stopped while it has the traffic: {:?}", world.todo);
    world.converge();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn what_died_while_nobody_looked_is_replaced() {
    for standby in [Standby::Warm, Standby::Frozen] {
        let mut world = World::new(2);
        world.start(plan_with(2, standby, ThinEvidence::Accept)).unwrap();
        world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
        world.settle();
        let before: Vec<InstanceId> = world.running.keys().copied().collect();
        world.running.clear();
        world.crash();
        assert_eq!(world.finish(), State::Committed, "{standby:?}");
        world.assert_all_served_by(Side::Green);
        assert!(world.running.keys().all(|instance| !before.contains(instance)), "{standby:?}");
    }
}

#[test]
fn what_blue_still_works_on_is_waited_for_over_a_crash() {
    let mut world = World::new(2);
    world.clinging = true;
    world.start(plan_with(2, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    let blue = world.active("a");
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.crash();
    world.settle();
    assert!(world.running.contains_key(&blue), "it was stopped over its work");
    world.until("blue has ended", |w| !w.running.contains_key(&blue));
}

#[test]
fn a_look_repeats_nothing_that_is_seen_to_be_done() {
    let mut world = World::rolling(2);
    world.mute.insert(("a".into(), Side::Green));
    world.until("green of a has started", |w| w.running.values().any(|(_, side)| *side == Side::Green));
    world.settle();
    world.converge();
    assert!(world.todo.iter().all(Command::is_question), "{:?}", world.todo);
}

#[test]
fn a_look_gives_no_deadline_more_time_and_ends_no_stage() {
    let mut world = World::rolling(2);
    world.settle();
    world.converge();
    assert_eq!(world.todo, [], "the baseline was to be measured later");

    world.clinging = true;
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.settle();
    let due = world.controller.next_timeout();
    world.pass(Millis::from_secs(5));
    world.converge();
    assert_eq!(world.controller.next_timeout(), due, "blue drains no longer than it may");
}

#[test]
fn instances_that_only_the_gateway_knows_are_forgotten_there() {
    let mut world = World::new(1);
    let stray = InstanceId(900);
    world.gateway.known.insert(stray, "a".into());
    world.converge();
    assert_eq!(world.todo, [Command::Retire { instances: vec![stray] }]);
}

#[test]
fn every_instance_that_serves_at_the_end_is_settled_even_if_the_word_was_lost() {
    let mut world = healthy();
    world.until_state(State::Committed);
    world.crash();
    world.finish();
    let active: BTreeMap<&AgentName, _> = world.gateway.routes.iter().map(|(agent, route)| (agent, route.to)).collect();
    assert!(active.values().all(|instance| world.gateway.settled.contains(instance)), "green stays green for ever");
}
