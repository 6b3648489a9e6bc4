//! What a request would do, told before it does it.

use super::world::{World, plan, plan_with};
use crate::{
    id::{AgentName, RolloutId, Side},
    plan::{Plan, Standby},
    rollout::{Event, Only, Preview, Shift, State, Step, Verb, VerbKind},
    spec::ThinEvidence,
    time::Millis,
};

const UNDO: Millis = Millis(7_000);
const BAKING: State = State::Progressing { phase: 0, step: Step::Baking { look: 1 } };

/// A world of four agents whose plan says how long its batches take to be undone.
fn with(mut plan: Plan) -> World {
    for phase in &mut plan.phases {
        phase.batches.iter_mut().for_each(|batch| batch.undo = UNDO);
    }
    let mut world = World::new(4);
    world.start(plan).unwrap();
    world
}

fn event(verb: VerbKind) -> Event {
    Event::Verb(Verb::new(verb, RolloutId(1), "ann", ""))
}

fn of(world: &World, event: Event) -> Preview {
    world.controller.preview(world.now, event).unwrap()
}

fn to_blue(agents: &[&str]) -> Vec<Shift> {
    agents.iter().map(|name| Shift { agent: AgentName::from(*name), to: Side::Blue }).collect()
}

#[test]
fn blues_that_have_to_be_started_take_over_after_that() {
    let mut world = with(plan_with(4, Standby::Stopped, ThinEvidence::Accept));
    world.until_state(BAKING);
    world.settle();
    let back = of(&world, event(VerbKind::Rollback));
    assert_eq!((back.moves.as_slice(), back.follows), (&[][..], to_blue(&["a", "b"])));
    let started: Vec<(&str, Side)> = back.starts.iter().map(|seat| (seat.agent.as_str(), seat.side)).collect();
    assert_eq!(started, [("a", Side::Blue), ("b", Side::Blue)]);
    assert_eq!(back.undo, Some(UNDO));

    // Under way, it is still what follows, and is not begun a second time.
    world.verb(VerbKind::Rollback).unwrap();
    let still = of(&world, Event::Tick);
    assert_eq!((still.follows, still.undo), (to_blue(&["a", "b"]), None));
    assert_eq!(world.finish(), State::RolledBack);
    assert_eq!(of(&world, Event::Tick).undo, None);
}

#[test]
fn what_goes_on_undoes_nothing_and_moves_nobody() {
    let mut world = with(plan(4));
    world.until("a cutover is under way", |w| {
        matches!(w.state(), State::Progressing { step: Step::CuttingOver { .. }, .. })
    });
    let pause = of(&world, event(VerbKind::Pause));
    assert_eq!(
        (pause.moves, pause.follows),
        (Vec::new(), Vec::new()),
        "what an earlier step decided is not told again"
    );
    world.until_state(BAKING);
    world.settle();
    for verb in [VerbKind::Pause, VerbKind::Promote] {
        let preview = of(&world, event(verb));
        assert_eq!((preview.undo, preview.moves, preview.follows), (None, Vec::new(), Vec::new()), "{verb:?}");
    }
    assert_eq!(of(&world, event(VerbKind::Promote)).judges.as_deref(), Some("canary"));
}

#[test]
fn a_part_that_is_taken_back_is_told_with_its_time() {
    let mut world = with(plan(4));
    world.until_state(BAKING);
    world.settle();
    let only = Only::Agents([AgentName::from("a")].into());
    let part = Verb { only: Some(only), ..Verb::new(VerbKind::Rollback, RolloutId(1), "ann", "") };
    let preview = of(&world, Event::Verb(part));
    assert_eq!((preview.moves, preview.follows, preview.undo), (to_blue(&["a"]), Vec::new(), Some(UNDO)));
}

#[test]
fn a_plan_that_has_not_estimated_the_way_back_tells_no_time_for_it() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    assert_eq!(of(&world, event(VerbKind::Rollback)).undo, None);
}
