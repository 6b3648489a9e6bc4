//! What has failed is tried again: greens, rollbacks, and whole rollouts.

use super::world::{World, plan, plan_with};
use crate::{
    id::{RolloutId, Side},
    plan::Standby,
    rollout::{Again, Event, Is, Position, Refusal, State, Step, VerbKind},
    spec::ThinEvidence,
    time::Millis,
};

const WARMING: State = State::Progressing { phase: 0, step: Step::Warming { batch: 0 } };

fn green_waits(world: &World, agent: &str) -> bool {
    let view = world.controller.view(world.now);
    let agent = view.agents.iter().find(|view| view.name.as_str() == agent).unwrap();
    agent.green.as_ref().is_some_and(|green| green.is == Is::BackOff)
}

fn again(rollout: u64, expect: Option<Position>) -> Event {
    let again = Again { rollout: RolloutId(rollout), reason: "it was the network".into(), expect };
    Event::Planned { plan: Box::new(plan(4)), by: "bob".into(), again: Some(again), once: None }
}

#[test]
fn greens_in_their_back_off_are_started_at_once() {
    let mut world = World::rolling(4);
    world.dying.insert("a".into());
    world.until("green of a waits", |w| w.state() == WARMING && green_waits(w, "a"));
    world.settle();
    world.dying.clear();
    let (began, failures) = (world.now.mono, exits(&world));
    world.verb(VerbKind::Retry).unwrap();
    world.settle();
    assert_eq!(world.state(), State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    assert_eq!(world.now.mono, began, "no timer was waited for");
    assert_eq!(exits(&world), failures, "what has failed still counts towards the crash loop");
}

fn exits(world: &World) -> u32 {
    let view = world.controller.view(world.now);
    view.agents[0].green.as_ref().map_or(0, |green| green.failures)
}

#[test]
fn where_nothing_waits_there_is_nothing_to_retry() {
    let mut world = World::rolling(4);
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    let (before, journal) = (world.controller.clone(), world.journal.len());
    let refused = world.verb(VerbKind::Retry).unwrap_err().to_string();
    assert!(refused.contains("no green waits to be started again"), "{refused}");
    assert_eq!((&world.controller, world.journal.len()), (&before, journal));
}

#[test]
fn a_rollback_that_did_not_end_is_tried_again() {
    let mut world = World::new(4);
    world.start(plan_with(4, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.settle();
    world.mute.insert(("a".into(), Side::Blue));
    world.verb(VerbKind::Rollback).unwrap();
    world.until_state(State::NeedsAttention);
    world.mute.clear();
    world.verb(VerbKind::Retry).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn a_rollout_that_was_rolled_back_is_started_again_as_another() {
    let mut world = World::rolling(4);
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    assert!(matches!(world.feed(again(1, None)), Err(Refusal::NotNow { .. })), "it is under way");
    let early = world.rollout().position();
    world.verb(VerbKind::Rollback).unwrap();
    world.finish();
    let moved = world.feed(again(1, Some(early)));
    assert!(matches!(moved, Err(Refusal::Moved { .. })), "whoever asks saw another one: {moved:?}");
    let seen = world.rollout().position();
    world.feed(again(1, Some(seen.clone()))).unwrap();
    let rollout = world.rollout();
    assert_eq!((rollout.id, rollout.state, rollout.by.as_str()), (RolloutId(2), State::Preflight, "bob"));
    assert_eq!(rollout.again.as_ref().map(|again| again.rollout), Some(RolloutId(1)));

    let twice = world.feed(again(1, Some(seen))).unwrap_err().to_string();
    assert!(twice.contains("a later rollout was started since"), "{twice}");
    world.until_state(State::Completed);
    let over = world.feed(again(2, None)).unwrap_err();
    assert!(matches!(over, Refusal::NotNow { .. }), "{over}");
}

#[test]
fn a_failed_preflight_is_tried_again() {
    let mut world = World::new(4);
    world.baseline_refused = Some("too quiet".into());
    world.start(plan(4)).unwrap();
    world.until_state(State::PreflightFailed);
    world.baseline_refused = None;
    let refused = world.verb(VerbKind::Retry).unwrap_err();
    assert!(matches!(refused, Refusal::NotNow { .. }), "without a plan nothing can be started: {refused}");
    world.feed(again(1, None)).unwrap();
    world.until_state(State::Completed);
    world.pass(Millis(1));
}

#[test]
fn a_plan_that_no_longer_fits_what_runs_is_refused_again_too() {
    let mut world = World::rolling(4);
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 1 } });
    world.verb(VerbKind::Rollback).unwrap();
    world.finish();
    let Event::Planned { mut plan, by, again, once } = again(1, None) else { unreachable!("it is a start") };
    plan.phases[0].batches[0].agents[0].from = "v0".into();
    let refused = world.feed(Event::Planned { plan, by, again, once });
    assert_eq!(refused, Err(Refusal::StalePlan("a".into())));
}
