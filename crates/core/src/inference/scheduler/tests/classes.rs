//! Classes, work that was begun, and calls that hold several slots.

use super::{world::*, *};

fn classed(agent: &str, model: &str, class: Class) -> Ask {
    Ask { class, ..ask(agent, model) }
}

fn granted_at(world: &World, call: CallId) -> u64 {
    world.calls[&call].granted.unwrap()
}

#[test]
fn the_more_urgent_class_goes_first_whatever_is_loaded() {
    let mut world = World::new(limits(1), 100);
    let batch: Vec<CallId> =
        (0..5).map(|i| world.put(classed(&format!("a{i}"), "slow", Class::Batch), 50).unwrap()).collect();
    world.run_until(120);
    let urgent = world.put(classed("person", "quick", Class::Interactive), 10).unwrap();
    world.finish();
    assert_eq!(granted_at(&world, urgent), 150 + 100, "the call in flight ends, and the other model is loaded");
    assert_eq!(world.loads, 3);
    assert!(batch[1..].iter().all(|&call| granted_at(&world, call) > granted_at(&world, urgent)));
}

#[test]
fn of_one_agents_calls_those_for_a_task_that_was_begun_go_first() {
    let mut world = World::new(limits(1), 0);
    world.ask("a", "m", 10).unwrap();
    world.step();
    let idle = world.ask("a", "m", 10).unwrap();
    let begun = world.put(Ask { begun: true, ..ask("a", "m") }, 10).unwrap();
    world.finish();
    assert!(granted_at(&world, begun) < granted_at(&world, idle));
}

#[test]
fn work_that_was_begun_buys_an_agent_nothing_beside_another() {
    let mut world = World::new(limits(1), 0);
    world.ask("busy", "m", 100).unwrap();
    world.step();
    let begun = world.put(Ask { begun: true, ..ask("busy", "m") }, 10).unwrap();
    let other = world.ask("other", "m", 10).unwrap();
    world.finish();
    assert!(granted_at(&world, other) < granted_at(&world, begun));
}

#[test]
fn an_embedding_of_many_holds_all_slots() {
    let mut world = World::new(limits(2), 0);
    world.ask("a", "m", 40).unwrap();
    world.step();
    let many = world.put(Ask { inputs: 50, ..ask("b", "m") }, 30).unwrap();
    let after = world.ask("c", "m", 10).unwrap();
    assert_eq!(world.scheduler.slots_busy(), 1, "the free slot is kept for it, or it would wait for ever");
    world.finish();
    assert_eq!((granted_at(&world, many), granted_at(&world, after)), (40, 70));
}

#[test]
fn weights_share_the_slots() {
    let weights = [("one", 1), ("two", 2), ("four", 4)];
    let of = weights.map(|(agent, weight)| (AgentName::from(agent), weight));
    let mut world = World::new(Limits { weights: of.clone().into(), ..limits(2) }, 100);
    world.closed_loop(&weights.map(|(agent, _)| (agent, 6)), 120_000, |client| (ask(client, "m"), 17));
    let used = world.slot_time_by_agent();
    let one = used[&of[0].0] as f64;
    for (agent, weight) in &of {
        let times = used[agent] as f64 / one;
        assert!((times / f64::from(*weight) - 1.0).abs() < 0.05, "{agent} got {times:.3} times the share of one");
    }
}

#[test]
fn agents_of_two_context_sizes_load_the_model_anew_and_batched() {
    let mut world = World::new(limits(1), 300);
    let sized = |agent: &str, size: &str| {
        let mut ask = ask(agent, "m");
        ask.runner.options = crate::inference::RunnerOptions::of([("num_ctx", size)]);
        ask
    };
    for i in 0..20 {
        let size = if i % 2 == 0 { "2048" } else { "8192" };
        world.put(sized(&format!("a{i}"), size), 10).unwrap();
    }
    world.finish();
    assert_eq!(world.loads, 2, "once for each size, not once for each call");
}
