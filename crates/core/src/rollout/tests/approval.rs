//! Phases that a person has to agree to.

use super::world::{World, plan, replay};
use crate::{
    id::Side,
    plan::Plan,
    rollout::{Command, PauseReason, Refusal, State, Step, Trigger, VerbKind},
    spec::Approval,
    time::Millis,
};

const fn waits(phase: usize) -> State {
    State::Progressing { phase, step: Step::AwaitingApproval }
}

fn asking(phases: &[usize], approval: Approval) -> Plan {
    let mut plan = plan(4);
    for &phase in phases {
        plan.phases[phase].approval = approval;
    }
    plan
}

/// Started by ann.
fn world(phases: &[usize], approval: Approval) -> World {
    let mut world = World::new(4);
    world.start(asking(phases, approval)).unwrap();
    world
}

#[test]
fn nothing_of_a_phase_is_touched_before_it_is_approved() {
    let mut world = world(&[0, 1], Approval::Required);
    world.until_state(waits(0));
    let done = world.done.len();
    world.settle();
    assert!(!world.tick(), "nothing but a person is waited for");
    world.pass(Millis::from_mins(600));
    assert_eq!((world.state(), world.done.len()), (waits(0), done));
    assert!(world.rollout().phases.is_empty(), "a phase that waits has not begun");

    world.verb_by(VerbKind::Approve, "bob").unwrap();
    assert_eq!(world.state(), State::Progressing { phase: 0, step: Step::Warming { batch: 0 } });
    world.until_state(waits(1));
    assert_eq!(world.sides(), [Side::Green, Side::Green, Side::Blue, Side::Blue].map(Some));
    world.verb_by(VerbKind::Approve, "eve").unwrap();
    world.until_state(State::Completed);
    let given: Vec<_> = world.rollout().approvals.iter().filter_map(|record| record.given.clone()).collect();
    let shown = world.controller.view(world.now).rollout.unwrap().phases;
    let shown =
        shown.into_iter().map(|phase| phase.approved.and_then(|record| record.given)).collect::<Option<Vec<_>>>();
    assert_eq!(shown.as_ref(), Some(&given), "each phase shows its own");
    let who: Vec<_> = given.iter().map(|consent| (consent.by.as_str(), consent.why.as_str())).collect();
    assert_eq!(who, [("bob", "because"), ("eve", "because")]);
    assert!(world.rollout().phases[0].began >= given[0].at, "waiting is no part of the phase");
}

#[test]
fn a_first_phase_that_is_rejected_leaves_nothing_to_undo() {
    let mut world = world(&[0], Approval::Required);
    world.until_state(waits(0));
    world.settle();
    let done = world.done.len();
    world.verb_by(VerbKind::Reject, "bob").unwrap();
    assert_eq!(world.state(), State::RolledBack);
    world.settle();
    assert_eq!(world.done.len(), done, "{:?}", &world.done[done..]);
    let trigger = &world.rollout().rollback.as_ref().unwrap().trigger;
    assert_eq!(*trigger, Trigger::Operator { by: "bob".into(), why: "rejected phase canary: because".into() });
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn a_later_phase_that_is_rejected_takes_back_what_has_moved() {
    let mut world = world(&[1], Approval::Required);
    world.until_state(waits(1));
    world.verb_by(VerbKind::Reject, "bob").unwrap();
    assert!(matches!(world.state(), State::RollingBack { .. }));
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn who_started_it_may_approve_it_unless_another_person_is_asked_for() {
    let mut any = world(&[0], Approval::Required);
    any.until_state(waits(0));
    any.verb_by(VerbKind::Approve, "ann").unwrap();

    let mut other = world(&[0], Approval::Other);
    other.until_state(waits(0));
    let (before, journal) = (other.controller.clone(), other.journal.len());
    let refused = other.verb_by(VerbKind::Approve, "ann");
    assert!(matches!(&refused, Err(Refusal::OwnApproval { by, .. }) if by == "ann"), "{refused:?}");
    assert_eq!((&other.controller, other.journal.len()), (&before, journal));
    other.verb_by(VerbKind::Approve, "bob").unwrap();
    other.until_state(State::Completed);

    let mut rejected = world(&[0], Approval::Other);
    rejected.until_state(waits(0));
    rejected.verb_by(VerbKind::Reject, "ann").unwrap();
    assert_eq!(rejected.state(), State::RolledBack);
}

#[test]
fn a_pause_and_an_approval_do_not_stand_for_each_other() {
    let mut world = world(&[0], Approval::Required);
    world.until_state(waits(0));
    world.verb(VerbKind::Resume).unwrap();
    assert_eq!(world.state(), waits(0), "to resume is not to approve");
    world.verb(VerbKind::Pause).unwrap();
    world.verb_by(VerbKind::Approve, "bob").unwrap();
    let warming = State::Progressing { phase: 0, step: Step::Warming { batch: 0 } };
    world.settle();
    assert_eq!(world.state(), warming);
    assert!(matches!(world.rollout().paused, Some(PauseReason::Asked { .. })), "to approve is not to resume");
    assert!(!world.done.iter().any(|command| matches!(command, Command::Start { side: Side::Green, .. })));
    world.verb(VerbKind::Resume).unwrap();
    world.until_state(State::Completed);
}

#[test]
fn it_waits_on_over_a_crash_and_can_be_rolled_back_meanwhile() {
    let mut world = world(&[1], Approval::Other);
    world.until_state(waits(1));
    world.crash();
    world.settle();
    assert_eq!(world.state(), waits(1));
    assert_eq!(replay(&world.journal), world.controller);
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}
