//! What happens and is not said is found out by looking, and what is as it should be is never told.

use std::collections::BTreeSet;

use super::world::{World, plan_with};
use crate::{
    id::{InstanceId, Side},
    plan::Standby,
    rollout::{Doubt, Event, Lookout, State, VerbKind},
    spec::ThinEvidence,
    time::{Millis, Nanos},
};

fn doubts(world: &World) -> BTreeSet<Doubt> {
    let running = world.running.keys().copied().collect();
    world.controller.doubts(&running, &world.gateway.view())
}

fn second(seconds: u64) -> Nanos {
    Nanos(0) + Millis::from_secs(seconds)
}

#[test]
fn a_world_that_is_as_it_should_be_raises_no_doubt_before_during_and_after_a_rollout() {
    let mut world = World::new(3);
    assert_eq!(doubts(&world), BTreeSet::new());
    world.start(plan_with(3, Standby::Frozen, ThinEvidence::Accept)).unwrap();
    world.until_state(State::Completed);
    assert_eq!(doubts(&world), BTreeSet::new());
    world.verb(VerbKind::Commit).unwrap();
    world.settle();
    assert_eq!(doubts(&world), BTreeSet::new());
}

#[test]
fn it_looks_once_a_minute_after_whatever_look_there_was() {
    let mut lookout = Lookout::new(second(0));
    assert_eq!(lookout.at(), second(60));
    lookout.looks(second(70));
    assert_eq!(lookout.at(), second(130));
}

#[test]
fn an_end_that_nobody_told_is_found_and_made_good() {
    let mut world = World::new(2);
    let gone = *world.running.keys().next().unwrap();
    world.running.remove(&gone);
    assert_eq!(doubts(&world), BTreeSet::from([Doubt::Gone(gone)]));
    world.converge();
    world.until("another one takes its place", |world| world.running.len() == 2);
    world.settle();
    assert_eq!(doubts(&world), BTreeSet::new());
}

#[test]
fn what_runs_for_nobody_is_found_and_ended() {
    let mut world = World::new(2);
    world.running.insert(InstanceId(99), ("a".into(), Side::Blue));
    assert_eq!(doubts(&world), BTreeSet::from([Doubt::Stray(InstanceId(99))]));
    world.converge();
    world.settle();
    assert!(!world.running.contains_key(&InstanceId(99)));
}

#[test]
fn a_machine_that_waits_for_a_look_says_so_and_nothing_else() {
    let mut world = World::new(2);
    world.feed(Event::Restarted).unwrap();
    world.running.clear();
    assert_eq!(doubts(&world), BTreeSet::from([Doubt::Blind]));
}

#[test]
fn one_look_says_nothing_and_two_that_agree_do() {
    let gone = |instance| BTreeSet::from([Doubt::Gone(InstanceId(instance))]);
    let mut lookout = Lookout::new(second(0));
    assert_eq!(lookout.at(), second(60));
    assert!(!lookout.is_sure(gone(1)), "its end may be on its way");
    assert!(!lookout.is_sure(gone(2)), "it was, and now another's is");
    assert!(lookout.is_sure(gone(2)));
    assert!(!lookout.is_sure(gone(2)), "it was told; the next look may fall between a command and its effect");
    assert!(!lookout.is_sure(BTreeSet::new()));
}

#[test]
fn a_look_that_is_waited_for_is_taken_again_soon_until_one_succeeds_and_is_believed_at_once() {
    let mut lookout = Lookout::new(second(0));
    lookout.saw_nothing(second(60));
    assert_eq!(lookout.at(), second(60), "nobody waits for it");
    lookout.failed(second(5));
    assert_eq!(lookout.at(), second(6));
    lookout.looks(second(6));
    lookout.saw_nothing(second(16));
    assert_eq!(lookout.at(), second(17));
    assert!(lookout.is_sure(BTreeSet::from([Doubt::Blind])));
    lookout.failed(second(20));
    assert!(!lookout.is_sure(BTreeSet::new()), "it was told meanwhile");
}
