//! Gateways that follow one another, killed between any two steps. The real schedulers decide about the slots.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    id::ModelName,
    inference::{Ask, CallId, Command, Limits, Scheduler, ServerId},
    time::Nanos,
};

const SLOTS: u32 = 2;

/// One process, as elder and as heir.
struct Gateway {
    stage: Stage,
    heir: Heir,
    scheduler: Scheduler,
    /// At the model server, by this process.
    in_flight: Vec<CallId>,
    /// Of the elder, by the elder's numbers.
    adopted: BTreeMap<CallId, CallId>,
    elder: Option<usize>,
    /// One above that of its first elder.
    rank: u64,
}

/// What a process has done to become the one that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heir {
    Begins,
    Asked,
    Told,
    Serves,
}

#[derive(Default)]
struct World {
    /// None: it is dead.
    gateways: Vec<Option<Gateway>>,
    next_call: u64,
    now: u64,
}

impl World {
    fn gateway(&mut self, n: usize) -> &mut Gateway {
        self.gateways[n].as_mut().expect("it lives")
    }

    fn living(&self) -> Vec<usize> {
        (0..self.gateways.len()).filter(|&n| self.gateways[n].is_some()).collect()
    }

    fn tick(&mut self) -> Nanos {
        self.now += 1;
        Nanos(self.now)
    }

    fn start(&mut self) {
        let scheduler = Scheduler::new(Limits::for_slots(SLOTS));
        let (stage, heir) = (Stage::Closed { heir: false }, Heir::Begins);
        let adopted = BTreeMap::new();
        self.gateways.push(Some(Gateway {
            stage,
            heir,
            scheduler,
            in_flight: Vec::new(),
            adopted,
            elder: None,
            rank: 0,
        }));
    }

    /// The next step of this process as heir. A refusal ends it.
    fn advance(&mut self, n: usize) {
        match self.gateway(n).heir {
            Heir::Begins => {
                // One that is being taken over already says so.
                let youngest = self.youngest(n, u64::MAX);
                let asked = youngest.filter(|&elder| self.tell(elder, Event::Asked) != Some(Effect::Refuse));
                match asked {
                    Some(elder) => {
                        self.gateway(n).rank = self.gateway(elder).rank + 1;
                        self.gateway(n).elder = Some(elder);
                        self.gateway(n).heir = Heir::Asked;
                    }
                    None if self
                        .living()
                        .into_iter()
                        .all(|other| other == n || self.gateway(other).elder == Some(n)) =>
                    {
                        self.serve(n);
                    }
                    None => self.kill(n),
                }
            }
            Heir::Asked => {
                let elder = self.gateway(n).elder.expect("it asked one");
                match self.gateways[elder].as_ref().map(|elder| elder.stage) {
                    Some(Stage::Quiescing) => {
                        self.tell(elder, Event::Quiesced);
                    }
                    Some(Stage::Closing { .. }) => {
                        self.tell(elder, Event::StoreClosed);
                    }
                    Some(Stage::Closed { .. } | Stage::Lending { .. }) => {
                        self.inherit(n, elder);
                        self.gateway(n).heir = Heir::Told;
                    }
                    // It died, and with it all that it had; whoever it had inherited from is asked.
                    None => {
                        self.gateway(n).elder = None;
                        self.gateway(n).heir = Heir::Begins;
                    }
                    Some(stage @ (Stage::Serving | Stage::Gone)) => panic!("an heir waits for one that is {stage:?}"),
                }
            }
            Heir::Told => self.serve(n),
            Heir::Serves => self.hear(n),
        }
    }

    /// Whom to ask: the store's owner, or else the one that had it last. Those before it are its own elders.
    fn youngest(&self, n: usize, below: u64) -> Option<usize> {
        let asked = |other: &usize| {
            let it = self.gateways[*other].as_ref().expect("it lives");
            *other != n && it.heir == Heir::Serves && it.rank < below
        };
        self.living().into_iter().filter(asked).max_by_key(|&other| {
            let it = self.gateways[other].as_ref().expect("it lives");
            (it.stage.owns_store(), it.rank)
        })
    }

    fn tell(&mut self, elder: usize, event: Event) -> Option<Effect> {
        let now = self.tick();
        let gateway = self.gateway(elder);
        let (next, effect) = gateway.stage.step(event).expect("the order is kept");
        gateway.stage = next;
        match effect {
            Some(Effect::CloseStore) => drop(gateway.scheduler.close(now)),
            Some(Effect::End) => self.gateways[elder] = None,
            Some(Effect::ShutDoor | Effect::OpenDoor | Effect::TellEstate | Effect::PassOn | Effect::Refuse) | None => {
            }
        }
        effect
    }

    /// All that the elder has is told as a whole, each time: what is new is known before what is gone counts as free.
    fn inherit(&mut self, n: usize, elder: usize) {
        let now = self.tick();
        let held: Vec<(CallId, Ask)> = self.gateways[elder]
            .iter()
            .flat_map(|elder| elder.scheduler.in_flight())
            .map(|held| (held.call, Ask::new(held.agent.clone(), held.runner.clone())))
            .collect();
        let World { gateways, next_call, .. } = self;
        let gateway = gateways[n].as_mut().expect("it lives");
        for (theirs, ask) in &held {
            gateway.adopted.entry(*theirs).or_insert_with(|| {
                let ours = CallId(*next_call);
                *next_call += 1;
                gateway.scheduler.adopt(now, ours, ask.clone(), ServerId(0));
                ours
            });
        }
        let gone = |theirs: &CallId, _: &mut CallId| held.iter().all(|(id, ..)| id != theirs);
        let ended: Vec<CallId> = gateway.adopted.extract_if(.., gone).map(|(_, ours)| ours).collect();
        ended.into_iter().for_each(|ours| gateway.scheduler.finished(now, ours));
    }

    /// It opens the store and accepts.
    fn serve(&mut self, n: usize) {
        self.gateway(n).stage = Stage::Serving;
        self.gateway(n).heir = Heir::Serves;
        let elder = self.gateway(n).elder;
        if let Some(elder) = elder.filter(|&elder| self.gateways[elder].is_some()) {
            self.tell(elder, Event::HeirAccepts);
        }
    }

    /// What the elder no longer has is free.
    fn hear(&mut self, n: usize) {
        let Some(mut elder) = self.gateway(n).elder else { return };
        if self.gateways[elder].is_none() {
            // Before what it had counts as free: whoever it had inherited from may still be there.
            self.gateway(n).elder = None;
            let rank = self.gateway(n).rank;
            // One that has another heir is that one's.
            if let Some(older) = self.youngest(n, rank).filter(|&older| {
                matches!(self.gateway(older).stage, Stage::Closed { heir: false } | Stage::Lending { heir: false })
            }) {
                self.tell(older, Event::Asked);
                self.tell(older, Event::HeirAccepts);
                self.gateway(n).elder = Some(older);
                elder = older;
            }
        }
        self.inherit(n, elder);
        self.obey(n);
        // It ends after the one before it, and after its heir knows that nothing is left.
        let ends = |it: &Gateway| {
            matches!(it.stage, Stage::Lending { .. }) && it.elder.is_none() && it.scheduler.slots_busy() == 0
        };
        if self.gateways[elder].as_ref().is_some_and(ends) {
            self.tell(elder, Event::Finished);
        }
    }

    fn obey(&mut self, n: usize) {
        loop {
            let now = self.tick();
            let gateway = self.gateway(n);
            match gateway.scheduler.poll() {
                Some(Command::Grant { call, .. }) => gateway.in_flight.push(call),
                Some(Command::Load { server, runner, .. }) => gateway.scheduler.loaded(now, server, &runner, true),
                None => return,
            }
        }
    }

    fn ask(&mut self) {
        let Some(n) = self.serving() else { return };
        let (now, call) = (self.tick(), CallId(self.next_call));
        self.next_call += 1;
        self.gateway(n)
            .scheduler
            .enqueue(now, call, Ask::new("a".into(), ModelName::new("m").into()))
            .expect("there is room");
        self.obey(n);
    }

    fn finish(&mut self, n: usize) {
        let now = self.tick();
        let gateway = self.gateway(n);
        if let Some(call) = gateway.in_flight.pop() {
            gateway.scheduler.finished(now, call);
            self.obey(n);
        }
    }

    /// Its connections close with it. Whoever was its heir, or its elder, learns of it.
    fn kill(&mut self, n: usize) {
        self.gateways[n] = None;
        // Which elders had it for an heir?
        for elder in self.living() {
            let has_heir = self.living().into_iter().any(|heir| self.gateway(heir).elder == Some(elder));
            if !has_heir {
                self.tell(elder, Event::HeirLost);
            }
        }
    }

    fn serving(&self) -> Option<usize> {
        self.living().into_iter().find(|&n| self.gateways[n].as_ref().is_some_and(|it| it.stage == Stage::Serving))
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let living = || self.gateways.iter().flatten();
        prop_assert!(living().filter(|it| it.stage.owns_store()).count() <= 1, "one writer");
        let in_flight: usize = living().map(|it| it.in_flight.len()).sum();
        prop_assert!(in_flight <= SLOTS as usize, "{in_flight} in flight");
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Act {
    Start,
    Advance(u8),
    Kill(u8),
    Ask,
    Finish(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        2 => Just(Act::Start),
        8 => any::<u8>().prop_map(Act::Advance),
        1 => any::<u8>().prop_map(Act::Kill),
        4 => Just(Act::Ask),
        3 => any::<u8>().prop_map(Act::Finish),
    ];
    prop::collection::vec(act, 1..120)
}

proptest! {
    #[test]
    fn one_writes_and_the_slots_are_never_exceeded_wherever_one_dies(acts in acts()) {
        let mut world = World::default();
        world.start();
        world.advance(0);
        for act in acts {
            let living = world.living();
            let of = |n: u8| living[usize::from(n) % living.len()];
            match act {
                // The supervisor starts one at a time, besides the one that serves.
                Act::Start => {
                    let begins = living.iter().any(|&n| world.gateway(n).heir != Heir::Serves);
                    if !begins {
                        world.start();
                    }
                }
                Act::Advance(n) if !living.is_empty() => world.advance(of(n)),
                Act::Kill(n) if !living.is_empty() => world.kill(of(n)),
                Act::Finish(n) if !living.is_empty() => world.finish(of(n)),
                Act::Ask => world.ask(),
                Act::Advance(_) | Act::Kill(_) | Act::Finish(_) => {}
            }
            world.check()?;
        }
        // Nobody dies any more: one serves, all that waits gets its slot, and the elders go.
        for _ in 0..100 {
            if world.serving().is_none() && world.living().into_iter().all(|n| world.gateway(n).heir == Heir::Serves) {
                world.start();
            }
            for n in world.living() {
                if world.gateways[n].is_some() {
                    world.finish(n);
                }
                if world.gateways[n].is_some() {
                    world.advance(n);
                }
            }
            world.check()?;
        }
        let serving = world.serving();
        prop_assert!(serving.is_some());
        prop_assert_eq!(world.living(), vec![serving.expect("just seen")]);
        let scheduler = &world.gateway(serving.expect("just seen")).scheduler;
        prop_assert_eq!((scheduler.slots_busy(), scheduler.calls_waiting()), (0, 0));
    }
}

#[test]
fn one_that_lends_is_not_asked_while_another_one_serves() {
    let mut world = World::default();
    for n in 0..3 {
        world.start();
        if n == 1 {
            world.ask();
        }
        while world.gateway(n).heir != Heir::Serves {
            world.advance(n);
        }
    }
    // The one in the middle dies, and the one that serves does not know it yet.
    world.kill(1);
    world.start();
    world.advance(3);
    assert_eq!((world.gateway(0).stage, world.gateway(3).elder), (Stage::Lending { heir: false }, Some(2)));
}

#[test]
fn an_heir_that_dies_before_the_store_is_closed_changes_nothing() {
    let (stage, _) = Stage::Serving.step(Event::Asked).unwrap();
    assert_eq!(stage.step(Event::HeirLost), Ok((Stage::Serving, Some(Effect::OpenDoor))));
}

#[test]
fn the_store_is_owned_until_it_is_closed() {
    let (mut stage, mut owned) = (Stage::Serving, Vec::new());
    for event in [Event::Asked, Event::Quiesced, Event::StoreClosed, Event::HeirAccepts, Event::Finished] {
        owned.push(stage.owns_store());
        stage = stage.step(event).unwrap().0;
    }
    owned.push(stage.owns_store());
    assert_eq!((stage, owned), (Stage::Gone, vec![true, true, true, false, false, false]));
}

#[test]
fn what_cannot_happen_is_said() {
    let misplaced = Stage::Serving.step(Event::HeirAccepts).unwrap_err();
    assert_eq!(misplaced.to_string(), "HeirAccepts cannot happen while Serving");
}
