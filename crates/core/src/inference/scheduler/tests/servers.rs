//! Several model servers behind one queue.

use proptest::prelude::*;

use super::{world::*, *};

fn two() -> Limits {
    Limits { slots: vec![1, 1], ..limits(1) }
}

#[test]
fn two_servers_keep_a_model_each() {
    let mut world = World::new(two(), 300);
    world.closed_loop(&[("a", 3), ("b", 3)], 20_000, |client| (ask(client, if client == "a" { "x" } else { "y" }), 10));
    assert_eq!(world.loads, 2, "no model is switched while each has a server of its own");
    let total: u64 = world.slot_time_by_agent().values().sum();
    assert!(total > 39_000, "both work all the time: {total}");
}

#[test]
fn an_idle_server_helps_with_what_is_too_much_for_one() {
    let mut world = World::new(two(), 300);
    world.closed_loop(&[("a", 4)], 20_000, |client| (ask(client, "x"), 10));
    assert_eq!(world.loads, 2);
    assert!(world.slot_time_by_agent()[&"a".into()] > 38_000);
}

#[test]
fn what_is_down_gets_nothing_until_it_is_up_and_loads_anew() {
    let mut world = World::new(two(), 50);
    world.set_up(1, false);
    for i in 0..4 {
        world.ask(&format!("a{i}"), "x", 10).unwrap();
    }
    world.finish();
    assert_eq!((world.loads, world.now), (1, 90), "one server did it all");
    world.set_up(0, false);
    let call = world.ask("a", "x", 10).unwrap();
    assert!(!world.step(), "nobody is there");
    world.set_up(0, true);
    world.finish();
    assert!(world.calls[&call].granted.is_some());
    assert_eq!(world.loads, 2, "it may have lost what it had");
}

#[test]
fn slots_are_conserved_when_a_server_goes_while_calls_are_in_flight() {
    let mut world = World::new(two(), 50);
    for i in 0..6 {
        world.ask(&format!("a{i}"), "x", 100).unwrap();
    }
    world.run_until(60);
    world.set_up(0, false);
    world.set_up(0, true);
    world.finish();
    assert_eq!(world.scheduler.slots_busy(), 0);
}

#[test]
fn a_model_is_asked_of_the_server_that_has_it() {
    let mut world = World::new(two(), 50);
    for (server, model) in [(0, "x"), (1, "y")] {
        world.scheduler.has(ms(0), ServerId(server), BTreeSet::from([ModelName::new(model)]));
    }
    let calls = ["y", "y", "z"].map(|model| world.ask("a", model, 10).unwrap());
    world.run_until(55);
    let at = |world: &World, call| world.scheduler.in_flight().find(|held| held.call == call).map(|held| held.server);
    assert_eq!(at(&world, calls[0]), Some(ServerId(1)));
    assert_eq!(at(&world, calls[2]), Some(ServerId(0)), "nobody has it, so that anybody may say so");
    world.finish();
    assert_eq!(world.loads, 2);
}

#[test]
fn what_was_not_to_be_kept_is_loaded_again() {
    let mut world = World::new(limits(1), 50);
    world.ask("a", "x", 10).unwrap();
    world.finish();
    world.scheduler.unloaded(ms(world.now), ServerId(0));
    world.ask("a", "x", 10).unwrap();
    assert_eq!(world.loads, 2);
}

proptest! {
    #[test]
    fn calls_and_slots_are_conserved_whoever_comes_and_goes(
        acts in prop::collection::vec((0u8..4, 0u8..4, 1u64..200, 0usize..3, 0u8..8), 1..200),
    ) {
        let mut world = World::new(Limits { slots: vec![1, 2, 3], ..limits(1) }, 120);
        for (agent, model, ms, server, what) in acts {
            match what {
                0 => world.set_up(server, false),
                1 | 2 => world.set_up(server, true),
                3 => world.run_until(world.now + ms),
                _ => drop(world.ask(&format!("a{agent}"), &format!("m{model}"), ms).unwrap()),
            }
        }
        (0..3).for_each(|server| world.set_up(server, true));
        world.finish();
        prop_assert_eq!(world.scheduler.slots_busy(), 0);
    }
}
