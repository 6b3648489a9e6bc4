//! The published bound of a wait, from both sides: nobody waits longer, and somebody waits nearly so long.

use super::{world::*, *};

/// Everybody else asks without end for as long as calls may take; one asks now and then, and owes what one may owe.
fn adversary(slots: u32, others: usize, wide: bool) -> Worst {
    const CALL: u64 = 400;
    let mut world = World::new(limits(slots), 100);
    let names: Vec<String> = (0..others).map(|i| format!("other-{i}")).collect();
    let mut clients: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 4)).collect();
    clients.push(("victim", 1));
    world.closed_loop(&clients, 600_000, |client| {
        let inputs = if wide && client != "victim" { slots } else { 1 };
        (Ask { inputs, ..ask(client, "m") }, CALL)
    });
    world.worst.unwrap()
}

#[test]
fn with_one_model_the_longest_wait_is_near_the_bound_and_not_above() {
    for (slots, others, wide) in [(1, 10, false), (2, 10, true), (2, 30, true)] {
        let worst = adversary(slots, others, wide);
        assert!(worst.waited <= worst.bound, "{worst:?}");
        assert!(worst.share() >= 0.3, "{slots} slots, {others} others: {worst:?} is {:.2}", worst.share());
    }
}

/// One agent for each model, and all but one ask without end.
#[test]
fn with_several_models_the_longest_wait_is_near_the_bound_and_not_above() {
    for models in [&["a", "b"][..], &["a", "b", "c"], &["a", "b", "c", "d", "e"]] {
        let mut world = World::new(limits(2), 700);
        world.runner_of_its_own = true;
        let clients: Vec<(&str, usize)> =
            models.iter().map(|&model| (model, if model == "a" { 1 } else { 20 })).collect();
        world.closed_loop(&clients, 300_000, |client| (ask(client, client), 400));
        let worst = world.worst.unwrap();
        assert!(worst.waited <= worst.bound, "{worst:?}");
        assert!(worst.share() >= 0.3, "{} models: {worst:?} is {:.2}", models.len(), worst.share());
    }
}

/// The least urgent call beside agents that ask for a more urgent one without end.
#[test]
fn the_last_class_is_served_after_it_has_aged() {
    let mut world = World::new(limits(1), 100);
    let mut ask_last = Some(Ask { class: Class::Shadow, ..ask("last", "m") });
    world.closed_loop(&[("last", 1), ("first", 3), ("other", 3)], 120_000, |client| {
        let ask = if client == "last" { ask_last.take() } else { None };
        (ask.unwrap_or_else(|| Ask { class: Class::Interactive, ..self::ask(client, "m") }), 50)
    });
    let last = world.calls.values().find(|asked| asked.ask.class == Class::Shadow).unwrap();
    let waited = last.granted.unwrap() - last.at;
    let aged = Class::Shadow.rank() * world.limits.ageing.0;
    assert!((aged..aged + 1000).contains(&waited), "{waited} ms");
    let worst = world.worst.unwrap();
    assert!(worst.waited <= worst.bound && worst.share() >= 0.3, "{worst:?}");
}
