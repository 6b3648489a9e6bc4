//! The disk is full, the stores were put back, or a rollback could not be recorded.

use super::world::{World, plan_with, replay};
use crate::{
    id::{InstanceId, Side},
    plan::Standby,
    rollout::{Event, PauseReason, State, Step, Trigger, VerbKind},
    spec::ThinEvidence,
    time::{Millis, Nanos, Now},
};

fn full() -> Event {
    Event::DiskFull { why: "no room".into() }
}

fn authorised(world: &mut World) {
    let rollout = world.rollout().id;
    world.feed(Event::RollbackAuthorised { rollout, reserve_bytes: 1 }).unwrap();
}

#[test]
fn a_full_disk_holds_the_way_forward_until_a_person_resumes() {
    let mut world = World::rolling(4);
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.feed(full()).unwrap();
    assert_eq!(world.rollout().paused, Some(PauseReason::DiskFull { why: "no room".into() }));
    world.until_state(State::Progressing { phase: 0, step: Step::Held });
    assert!(world.todo.is_empty(), "it was judged, and goes no further: {:?}", world.todo);
    world.verb(VerbKind::Resume).unwrap();
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_full_disk_does_not_hold_the_way_back() {
    let mut world = World::rolling(4);
    world.until_state(State::Progressing { phase: 1, step: Step::Baking { look: 1 } });
    world.feed(full()).unwrap();
    world.verb(VerbKind::Rollback).unwrap();
    world.feed(full()).unwrap();
    assert_eq!((world.finish(), &world.rollout().paused), (State::RolledBack, &None));
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn only_a_rollback_that_was_authorised_may_go_unrecorded() {
    let mut world = World::rolling(4);
    world.until_state(State::Progressing { phase: 1, step: Step::Baking { look: 1 } });
    assert_eq!(world.controller.may_act_unrecorded(), None);
    authorised(&mut world);
    assert_eq!(world.controller.may_act_unrecorded(), None, "it goes forward");
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.controller.may_act_unrecorded(), Some(world.rollout().id));
    world.finish();
    assert_eq!(world.controller.may_act_unrecorded(), None, "it is over");

    let mut world = World::rolling(4);
    world.until_state(State::Progressing { phase: 1, step: Step::Baking { look: 1 } });
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.controller.may_act_unrecorded(), None, "no room was held back for it");
}

/// The journal ends where the disk was full; what was done after it is known from the mark alone.
#[test]
fn a_rollback_that_was_not_recorded_is_found_wherever_it_stopped_and_leads_back() {
    for standby in [Standby::Warm, Standby::Stopped] {
        let mut steps = 0;
        loop {
            let mut world = World::new(3);
            world.start(plan_with(3, standby, ThinEvidence::Accept)).unwrap();
            authorised(&mut world);
            world.until_state(State::Progressing { phase: 1, step: Step::Baking { look: 1 } });
            let recorded = world.journal.len();
            world.verb(VerbKind::Rollback).unwrap();
            if !(0..steps).all(|_| world.message()) {
                assert!(steps > 5, "{steps} messages of the way back");
                break;
            }
            let (next, rollout) = (world.controller.next_instance(), world.rollout().id);
            world.journal.truncate(recorded);
            world.controller = replay(&world.journal);
            world.forget_messages();
            world.now = Now { mono: Nanos(7), wall: world.now.wall + Millis(300) };
            world.feed(Event::Restarted).unwrap();
            world.feed(Event::RollbackFound { rollout, next, why: "errors".into() }).unwrap();
            world.converge();
            assert_eq!(world.finish(), State::RolledBack, "{standby:?}: found after {steps} messages");
            world.assert_all_served_by(Side::Blue);
            assert!(world.controller.next_instance() >= next, "no number is given twice");
            let trigger = world.rollout().rollback.as_ref().map(|record| &record.trigger);
            assert_eq!(trigger, Some(&Trigger::Unrecorded { why: "errors".into() }));
            steps += 1;
        }
    }
}

#[test]
fn a_mark_of_a_rollback_that_is_recorded_changes_nothing() {
    let mut world = World::rolling(3);
    authorised(&mut world);
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.verb(VerbKind::Rollback).unwrap();
    let (rollout, next) = (world.rollout().id, world.controller.next_instance());
    let before = world.rollout().clone();
    world.feed(Event::RollbackFound { rollout, next, why: "old".into() }).unwrap();
    assert_eq!(world.rollout(), &before);
    assert_eq!(world.finish(), State::RolledBack);
    world.feed(Event::RollbackFound { rollout, next, why: "old".into() }).unwrap();
    assert_eq!(world.state(), State::RolledBack);
}

/// Wherever the backup was made, and whatever has happened since: the gateway's copy is as old as the journal's.
#[test]
fn stores_that_were_put_back_start_every_agent_anew_with_numbers_of_their_own() {
    let mut at = 0;
    loop {
        let mut world = World::rolling(3);
        if !(0..at).all(|_| world.message() || world.tick()) {
            break;
        }
        world.running.clear();
        world.forget_messages();
        let used: Vec<InstanceId> = (1..=world.controller.next_instance().0 + 50).map(InstanceId).collect();
        let next = InstanceId(used.len() as u64 + 1);
        world.feed(Event::Restored { next }).unwrap();
        assert!(world.todo.is_empty(), "nothing is decided before the look at the world");
        world.crash();
        world.until("every agent is served", |world| {
            world.controller.without_ready_instance() == 0 && world.todo.is_empty()
        });
        assert!(world.running.keys().all(|instance| *instance >= next), "{at}: {:?}", world.running.keys());
        let end = world.finish();
        assert_eq!(end, State::Committed, "{at}: it goes on where the backup stood");
        world.assert_all_served_by(Side::Green);
        at += 3;
    }
    assert!(at > 30);
}
