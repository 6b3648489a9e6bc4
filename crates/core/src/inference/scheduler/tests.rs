//! Model servers in virtual time drive the scheduler.

use proptest::prelude::*;

use super::*;

mod adopted;
mod bound;
mod classes;
mod servers;
mod world;

use world::{World, ask, limits, ms, runner};

#[derive(Clone, Debug)]
enum Act {
    Ask { agent: u8, model: u8, service: u64, class: usize, begun: bool, inputs: u32 },
    Leave { nth: u8 },
    Wait { ms: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let asked = (0u8..6, 0u8..4, 1u64..300, 0usize..5, any::<bool>(), 1u32..4);
    let act = prop_oneof![
        5 => asked.prop_map(|(agent, model, service, class, begun, inputs)| {
            Act::Ask { agent, model, service, class, begun, inputs }
        }),
        1 => any::<u8>().prop_map(|nth| Act::Leave { nth }),
        3 => (0u64..120).prop_map(|ms| Act::Wait { ms }),
    ];
    prop::collection::vec(act, 1..300)
}

proptest! {
    #[test]
    fn slots_and_calls_are_conserved_and_nobody_waits_beyond_the_bound(
        acts in acts(), slots in 1u32..5, load_ms in 0u64..800, broken in prop::option::of(0u8..4),
        weights in prop::collection::vec(1u32..5, 6),
    ) {
        let weights = weights.into_iter().enumerate().map(|(at, weight)| (format!("a{at}").as_str().into(), weight));
        let limits = Limits { waiting_max: 60, per_agent_max: 20, weights: weights.collect(), ..limits(slots) };
        let mut world = World::new(limits.clone(), load_ms);
        world.call_max = 300;
        world.fail_loads.extend(broken.map(|model| runner(&format!("m{model}"))));
        for act in acts {
            match act {
                Act::Ask { agent, model, service, class, begun, inputs } => {
                    let before = world.waiting.len();
                    let ask = ask(&format!("a{agent}"), &format!("m{model}"));
                    match world.put(Ask { class: Class::ALL[class], begun, inputs, ..ask }, service) {
                        Ok(_) => {}
                        Err(Refused { bound: Bound::Total, .. }) => prop_assert!(before >= limits.waiting_max),
                        Err(Refused { bound: Bound::Agent, .. }) => prop_assert!(before >= limits.per_agent_max),
                    }
                }
                Act::Leave { nth } => {
                    let ids: Vec<CallId> = world.waiting.iter().chain(world.running.keys()).copied().collect();
                    if !ids.is_empty() {
                        world.leave(ids[nth as usize % ids.len()]);
                    }
                }
                Act::Wait { ms } => world.run_until(world.now + ms),
            }
        }
        world.finish();
        if let Some(worst) = world.worst {
            prop_assert!(worst.waited <= worst.bound, "{worst:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn agents_that_always_want_more_share_by_weight(
        clients in prop::collection::vec((2usize..8, 1u32..5), 2..6), services in prop::collection::vec(5u64..25, 1..20),
    ) {
        let names: Vec<String> = (0..clients.len()).map(|at| format!("a{at}")).collect();
        let weights: BTreeMap<AgentName, u32> =
            names.iter().zip(&clients).map(|(name, (_, weight))| (name.as_str().into(), *weight)).collect();
        let mut world = World::new(Limits { weights: weights.clone(), ..limits(2) }, 100);
        let mut services = services.into_iter().cycle();
        let connections: Vec<(&str, usize)> =
            names.iter().zip(&clients).map(|(name, (connections, _))| (name.as_str(), *connections * 4)).collect();
        world.closed_loop(&connections, 60_000, |client| {
            (ask(client, "m"), services.next().unwrap())
        });
        let per_weight: Vec<f64> =
            world.slot_time_by_agent().iter().map(|(agent, used)| *used as f64 / f64::from(weights[agent])).collect();
        let (least, most) = per_weight.iter().fold((f64::MAX, 0f64), |(least, most), &it| (least.min(it), most.max(it)));
        prop_assert!(most / least < 1.15, "{per_weight:?}");
    }
}

#[test]
fn a_greedy_agent_gets_no_more_than_its_share() {
    let mut world = World::new(limits(2), 100);
    let modest: Vec<String> = (0..10).map(|i| format!("modest-{i}")).collect();
    let clients: Vec<(&str, usize)> =
        [("greedy", 60)].into_iter().chain(modest.iter().map(|name| (name.as_str(), 1))).collect();
    world.closed_loop(&clients, 30_000, |client| (ask(client, "m"), 10));
    let used = world.slot_time_by_agent();
    let total: u64 = used.values().sum();
    assert!(total >= 59_000, "both slots stay busy: {total}");
    let share = used[&AgentName::from("greedy")] as f64 / total as f64;
    assert!(share < 1.1 / 11.0, "the greedy one took {share}");
}

#[test]
fn one_models_calls_are_batched_before_the_next() {
    let mut world = World::new(limits(2), 300);
    for i in 0..30 {
        world.ask(&format!("a{}", i % 10), &format!("m{}", i % 3), 10).unwrap();
    }
    world.finish();
    assert_eq!(world.loads, 3);
}

#[test]
fn a_model_in_demand_is_drained_when_its_quantum_is_over() {
    let mut world = World::new(limits(1), 300);
    for i in 0..60 {
        world.ask(&format!("a{i}"), "busy", 20).unwrap();
    }
    world.run_until(310);
    let other = world.ask("a0", "other", 20).unwrap();
    while world.calls[&other].granted.is_none() {
        assert!(world.step());
    }
    let asked = &world.calls[&other];
    let waited = asked.granted.unwrap() - asked.at;
    let quantum = world.limits.quantum.0;
    assert!(waited >= quantum, "the loaded model keeps its quantum: {waited}");
    assert!(waited <= 2 * quantum + 20 + 300, "which is at most that of both together: {waited}");
}

#[test]
fn a_model_has_turns_as_long_as_the_weights_of_those_who_want_it() {
    let mut world = World::new(limits(1), 0);
    let names: Vec<String> = (0..8).map(|i| format!("a{i}")).collect();
    let clients: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 2)).collect();
    world.closed_loop(&clients, 120_000, |client| (ask(client, if client < "a6" { "many" } else { "few" }), 10));
    let used = world.slot_time_by_agent();
    let (least, most) = (used.values().min().unwrap(), used.values().max().unwrap());
    assert!((*most as f64) < 1.1 * *least as f64, "six of one model and two of another: {used:?}");
}

#[test]
fn a_model_that_cannot_be_loaded_answers_for_itself() {
    let mut world = World::new(limits(2), 50);
    world.fail_loads.insert(runner("absent"));
    let call = world.ask("a", "absent", 1).unwrap();
    while world.step() {}
    assert!(world.calls[&call].granted.is_some(), "the call passes, so that the caller sees the server's own error");
    world.ask("a", "absent", 1).unwrap();
    assert_eq!(world.loads, 2, "a load that failed is tried again");
}

#[test]
fn a_model_that_rested_too_long_is_loaded_again() {
    let mut world = World::new(limits(2), 50);
    world.ask("a", "m", 10).unwrap();
    while world.step() {}
    world.ask("a", "m", 10).unwrap();
    while world.step() {}
    assert_eq!(world.loads, 1);
    world.run_until(world.now + world.limits.resident_for.0);
    world.ask("a", "m", 10).unwrap();
    assert_eq!(world.loads, 2);
}

#[test]
fn a_call_that_left_in_flight_keeps_its_slot_until_it_is_finished() {
    let mut world = World::new(limits(1), 0);
    let first = world.ask("a", "m", 100).unwrap();
    world.step();
    world.ask("b", "m", 100).unwrap();
    world.scheduler.left(ms(world.now), first);
    assert_eq!(world.scheduler.poll(), None);
    assert_eq!(world.scheduler.slots_busy(), 1);
}

#[test]
fn refusals_say_when_to_come_back() {
    let mut world = World::new(Limits { waiting_max: 3, per_agent_max: 2, ..limits(1) }, 10_000);
    world.ask("a", "m", 100).unwrap();
    world.ask("a", "m", 100).unwrap();
    let refused = world.ask("a", "m", 100).unwrap_err();
    assert_eq!(refused.bound, Bound::Agent);
    world.ask("b", "m", 100).unwrap();
    let refused = world.ask("c", "m", 100).unwrap_err();
    assert_eq!(refused.bound, Bound::Total);
    assert!((1_000..=60_000).contains(&refused.retry_after.0), "{}", refused.retry_after);
}
