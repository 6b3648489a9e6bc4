//! A small model server in virtual time drives the scheduler; properties hold after every event.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Nanos {
    Nanos(ms * 1_000_000)
}

fn limits(slots: u32) -> Limits {
    Limits { quantum: Millis(500), quantum_calls: 40, ..Limits::for_slots(slots) }
}

/// Serves what the scheduler grants and checks it after every step.
struct World {
    scheduler: Scheduler,
    limits: Limits,
    now: u64,
    next_id: u64,
    load_ms: u64,
    calls: BTreeMap<CallId, Asked>,
    waiting: BTreeSet<CallId>,
    /// Ends of what is in flight.
    running: BTreeMap<CallId, u64>,
    loading: Option<(ModelName, u64, bool)>,
    resident: Option<ModelName>,
    /// Since when a model has had calls waiting and was not served.
    unserved: BTreeMap<ModelName, u64>,
    turn_wait_max: u64,
    loads: u32,
    fail_loads: BTreeSet<ModelName>,
}

#[derive(Clone)]
struct Asked {
    agent: AgentName,
    model: ModelName,
    service: u64,
    at: u64,
    granted: Option<u64>,
}

impl World {
    fn new(limits: Limits, load_ms: u64) -> Self {
        Self {
            scheduler: Scheduler::new(limits.clone()),
            limits,
            now: 0,
            next_id: 0,
            load_ms,
            calls: BTreeMap::new(),
            waiting: BTreeSet::new(),
            running: BTreeMap::new(),
            loading: None,
            resident: None,
            unserved: BTreeMap::new(),
            turn_wait_max: 0,
            loads: 0,
            fail_loads: BTreeSet::new(),
        }
    }

    fn ask(&mut self, agent: &str, model: &str, service: u64) -> Result<CallId, Refused> {
        let (agent, model) = (AgentName::from(agent), ModelName::new(model));
        let id = CallId(self.next_id);
        self.next_id += 1;
        self.waiting.insert(id);
        let asked = Asked { agent: agent.clone(), model: model.clone(), service, at: self.now, granted: None };
        self.calls.insert(id, asked);
        let taken = self.scheduler.enqueue(ms(self.now), id, agent, model);
        if taken.is_err() {
            self.waiting.remove(&id);
        }
        self.obey();
        taken.map(|()| id)
    }

    fn leave(&mut self, id: CallId) {
        self.scheduler.left(ms(self.now), id);
        self.waiting.remove(&id);
        self.obey();
    }

    /// Moves on to the next thing that ends; false if nothing is under way.
    fn step(&mut self) -> bool {
        let next_call = self.running.iter().map(|(&id, &end)| (end, id)).min();
        let next_load = self.loading.as_ref().map(|(_, end, _)| *end);
        match (next_call, next_load) {
            (Some((end, id)), None) => {
                self.now = self.now.max(end);
                self.running.remove(&id);
                self.scheduler.finished(ms(self.now), id);
            }
            (None, Some(end)) => {
                self.now = self.now.max(end);
                let (model, _, ok) = self.loading.take().unwrap();
                self.resident = Some(model.clone());
                self.scheduler.loaded(ms(self.now), &model, ok);
            }
            (Some(_), Some(_)) => panic!("a model was loaded while calls were in flight"),
            (None, None) => return false,
        }
        self.obey();
        true
    }

    fn run_until(&mut self, until: u64) {
        while self.next_end().is_some_and(|end| end <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    fn next_end(&self) -> Option<u64> {
        self.running.values().copied().chain(self.loading.iter().map(|(_, end, _)| *end)).min()
    }

    fn obey(&mut self) {
        while let Some(command) = self.scheduler.poll() {
            match command {
                Command::Grant { call } => {
                    assert!(self.waiting.remove(&call), "{call:?} was granted and does not wait");
                    assert!(self.loading.is_none(), "a grant during a load");
                    let asked = self.calls.get_mut(&call).unwrap();
                    assert_eq!(Some(&asked.model), self.resident.as_ref(), "granted for a model that is not loaded");
                    asked.granted = Some(self.now);
                    self.running.insert(call, self.now + asked.service);
                }
                Command::Load { model } => {
                    assert!(self.running.is_empty(), "not drained before a switch");
                    assert!(self.loading.is_none(), "two loads at once");
                    self.loads += 1;
                    let ok = !self.fail_loads.contains(&model);
                    self.loading = Some((model, self.now + self.load_ms, ok));
                }
            }
        }
        self.check();
    }

    fn check(&mut self) {
        let slots = self.limits.slots as usize;
        assert!(self.running.len() <= slots, "ceiling");
        assert_eq!(self.scheduler.slots_busy() as usize, self.running.len(), "slots are conserved");
        assert_eq!(self.scheduler.calls_waiting(), self.waiting.len(), "calls are conserved");
        if !self.waiting.is_empty() {
            let at_work = self.loading.is_some() || !self.running.is_empty();
            assert!(at_work, "calls wait and nothing is under way");
            let models: BTreeSet<_> = self.waiting.iter().map(|id| &self.calls[id].model).collect();
            let alone = models.len() == 1 && models.first().copied() == self.resident.as_ref();
            assert!(!alone || self.loading.is_some() || self.running.len() == slots, "a slot idles for no reason");
        }
        let served = self.loading.as_ref().map(|(model, _, _)| model).or(self.resident.as_ref()).cloned();
        let waiting: BTreeSet<ModelName> = self.waiting.iter().map(|id| self.calls[id].model.clone()).collect();
        self.unserved.retain(|model, _| waiting.contains(model) && Some(model) != served.as_ref());
        for model in waiting {
            if Some(&model) != served.as_ref() {
                let since = *self.unserved.entry(model).or_insert(self.now);
                self.turn_wait_max = self.turn_wait_max.max(self.now - since);
            }
        }
    }

    /// Takes out of `open` what has ended.
    fn ended<T>(&self, open: &mut Vec<(CallId, T)>) -> Vec<(CallId, T)> {
        open.extract_if(.., |(id, _)| !self.waiting.contains(id) && !self.running.contains_key(id)).collect()
    }

    fn slot_time_by_agent(&self) -> BTreeMap<AgentName, u64> {
        let mut used = BTreeMap::new();
        for asked in self.calls.values().filter(|asked| asked.granted.is_some()) {
            *used.entry(asked.agent.clone()).or_default() += asked.service;
        }
        used
    }
}

#[derive(Clone, Debug)]
enum Act {
    Ask { agent: u8, model: u8, service: u64 },
    Leave { nth: u8 },
    Wait { ms: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        5 => (0u8..6, 0u8..4, 1u64..300).prop_map(|(agent, model, service)| Act::Ask { agent, model, service }),
        1 => any::<u8>().prop_map(|nth| Act::Leave { nth }),
        3 => (0u64..120).prop_map(|ms| Act::Wait { ms }),
    ];
    prop::collection::vec(act, 1..300)
}

proptest! {
    #[test]
    fn slots_and_calls_are_conserved_and_nothing_starves(
        acts in acts(), slots in 1u32..5, load_ms in 0u64..800, broken in prop::option::of(0u8..4),
    ) {
        let limits = Limits { waiting_max: 60, per_agent_max: 20, ..limits(slots) };
        let mut world = World::new(limits.clone(), load_ms);
        world.fail_loads.extend(broken.map(|model| ModelName::new(&format!("m{model}"))));
        for act in acts {
            match act {
                Act::Ask { agent, model, service } => {
                    let before = world.waiting.len();
                    match world.ask(&format!("a{agent}"), &format!("m{model}"), service) {
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
        while world.step() {}
        prop_assert_eq!(world.waiting.len(), 0);
        let bound = limits.turn_wait_max(4, Millis(300), Millis(load_ms)).0;
        prop_assert!(world.turn_wait_max <= bound, "a model waited {} ms, bound {bound} ms", world.turn_wait_max);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn agents_that_always_want_more_share_alike(
        connections in prop::collection::vec(2usize..8, 2..6), services in prop::collection::vec(5u64..25, 1..20),
    ) {
        let mut world = World::new(limits(2), 100);
        let mut services = services.into_iter().cycle();
        let mut open: Vec<(CallId, usize)> = Vec::new();
        for (agent, &n) in connections.iter().enumerate() {
            for _ in 0..n {
                open.push((world.ask(&format!("a{agent}"), "m", services.next().unwrap()).unwrap(), agent));
            }
        }
        while world.now < 15_000 {
            world.step();
            for (_, agent) in world.ended(&mut open) {
                open.push((world.ask(&format!("a{agent}"), "m", services.next().unwrap()).unwrap(), agent));
            }
        }
        let used = world.slot_time_by_agent();
        let (least, most) = (used.values().min().unwrap(), used.values().max().unwrap());
        prop_assert!(*most as f64 / (*least as f64) < 1.1, "{used:?}");
    }
}

#[test]
fn a_greedy_agent_gets_no_more_than_its_share() {
    let mut world = World::new(limits(2), 100);
    let mut open: Vec<(CallId, String)> = Vec::new();
    let agents = (0..60).map(|_| "greedy".to_owned()).chain((0..10).map(|i| format!("modest-{i}")));
    for agent in agents {
        open.push((world.ask(&agent, "m", 10).unwrap(), agent));
    }
    while world.now < 30_000 {
        world.step();
        let ended: Vec<_> =
            open.extract_if(.., |(id, _)| !world.waiting.contains(id) && !world.running.contains_key(id)).collect();
        for (_, agent) in ended {
            open.push((world.ask(&agent, "m", 10).unwrap(), agent));
        }
    }
    let used = world.slot_time_by_agent();
    let total: u64 = used.values().sum();
    assert!(total >= 59_000, "both slots stay busy: {total}");
    let share = used[&AgentName::from("greedy")] as f64 / total as f64;
    assert!(share < 0.11, "the greedy one took {share}");
}

#[test]
fn one_models_calls_are_batched_before_the_next() {
    let mut world = World::new(limits(2), 300);
    for i in 0..30 {
        world.ask(&format!("a{}", i % 10), &format!("m{}", i % 3), 10).unwrap();
    }
    while world.step() {}
    assert_eq!(world.loads, 3);
}

#[test]
fn a_model_in_demand_is_drained_when_its_quantum_is_over() {
    let limits = limits(1);
    let mut world = World::new(limits.clone(), 300);
    for i in 0..60 {
        world.ask(&format!("a{i}"), "busy", 20).unwrap();
    }
    world.run_until(310);
    let other = world.ask("late", "other", 20).unwrap();
    while world.calls[&other].granted.is_none() {
        assert!(world.step());
    }
    let asked = &world.calls[&other];
    let waited = asked.granted.unwrap() - asked.at;
    assert!(waited >= limits.quantum.0, "the loaded model keeps its quantum: {waited}");
    assert!(waited <= limits.turn_wait_max(2, Millis(20), Millis(300)).0, "{waited}");
}

#[test]
fn a_model_that_cannot_be_loaded_answers_for_itself() {
    let mut world = World::new(limits(2), 50);
    world.fail_loads.insert(ModelName::new("absent"));
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

mod adopted;
