//! How a rollout goes when nothing dies: phases, gates, standby and commit.

use std::collections::BTreeMap;

use super::world::{BAKE, World, plan, plan_with, report};
use crate::{
    analysis::Verdict,
    id::{Generation, Side},
    plan::{Plan, Standby},
    rollout::{Command, Event, PauseReason, Refusal, RollbackStep, State, Step, Trigger, VerbKind, Want},
    spec::ThinEvidence,
    time::Millis,
};

const BAKING: State = State::Progressing { phase: 0, step: Step::Baking { look: 1 } };
const HELD: State = State::Progressing { phase: 0, step: Step::Held };

#[test]
fn the_machine_knows_everybody_who_runs_and_where_each_sits() {
    let mut world = World::rolling(5);
    world.until_state(BAKING);
    world.settle();
    let seated = world.controller.instances().map(|(instance, agent, side)| (instance, (agent.clone(), side)));
    assert_eq!(seated.collect::<BTreeMap<_, _>>(), world.running, "five blues and the two greens of the canary");
    let types = world.controller.agents_with_types().map(|(agent, of)| (agent.as_str(), of.as_str()));
    assert_eq!(types.collect::<Vec<_>>(), ["a", "b", "c", "d", "e"].map(|agent| (agent, "worker")));
}

#[test]
fn a_healthy_rollout_goes_through_all_phases_to_the_commit() {
    let mut world = World::rolling(5);
    let mut seen = vec![world.state()];
    world.until("the end", |w| w.state() == State::Completed);
    assert_eq!(world.sides(), [Some(Side::Green); 5]);
    assert_eq!(world.running.len(), 10, "blue is held until the commit");
    let rollout = world.rollout();
    let cumulative: Vec<usize> = rollout.phases.iter().map(|phase| phase.agents_cumulative).collect();
    assert_eq!(cumulative, [2, 5]);
    assert!(rollout.phases.iter().all(|phase| phase.report.is_some() && phase.ended.is_some()));
    seen.push(world.finish());
    assert_eq!(seen, [State::Preflight, State::Committed]);
    world.assert_all_served_by(Side::Green);
    assert_eq!(world.gateway.settled.len(), 5);
}

#[test]
fn each_batch_is_moved_in_one_generation() {
    let mut world = World::rolling(5);
    world.finish();
    let moves: Vec<usize> = world
        .done
        .iter()
        .filter_map(|command| match command {
            Command::CutOver { moves, .. } => Some(moves.len()),
            _ => None,
        })
        .collect();
    // At first the blues, one by one as they ask for a task; then batches of 2, of 2 and of 1.
    assert_eq!(moves[moves.len() - 3..], [2, 2, 1]);
    let generations: Vec<Generation> = world
        .done
        .iter()
        .filter_map(|command| match command {
            Command::CutOver { generation, .. } => Some(*generation),
            _ => None,
        })
        .collect();
    assert!(generations.windows(2).all(|pair| pair[1] == pair[0].next()), "{generations:?}");
}

#[test]
fn a_bake_lasts_as_planned_and_is_judged_then() {
    let mut world = World::rolling(2);
    world.until_state(BAKING);
    let began = world.now;
    world.settle();
    let opened = |w: &World| w.done.iter().filter(|it| matches!(it, Command::OpenWindow { .. })).count();
    assert_eq!((opened(&world), world.rollout().phases[0].bake_began), (2, Some(began.wall)), "beside the baseline's");
    world.until_state(State::Progressing { phase: 0, step: Step::Gate { look: 1 } });
    assert_eq!(world.now.mono.since(began.mono), BAKE + Millis(1));
    assert_eq!(opened(&world), 2, "what was seen in the bake is what is judged");
}

#[test]
fn harm_at_a_gate_rolls_back() {
    let mut world = World::rolling(4);
    world.verdicts.extend([Verdict::Pass, Verdict::Fail]);
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
    let rollback = world.rollout().rollback.clone().unwrap();
    assert!(matches!(&rollback.trigger, Trigger::Gate { criteria, .. } if criteria == &["R32"]), "{rollback:?}");
    assert!(rollback.shifted.is_some() && rollback.swapped.is_some() && rollback.validated.is_some());
    // The trigger blames green, so its leases are taken back.
    let back = world.done.iter().rev().find(|command| matches!(command, Command::CutOver { .. }));
    assert!(matches!(back, Some(Command::CutOver { revoke: true, .. })));
}

#[test]
fn harm_in_the_validation_rolls_back() {
    let mut world = World::rolling(4);
    world.verdicts.extend([Verdict::Pass, Verdict::Pass, Verdict::Fail]);
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn an_open_verdict_extends_once_and_then_goes_on_where_that_was_declared() {
    let mut world = World::rolling(4);
    world.verdicts.extend([Verdict::Inconclusive, Verdict::Inconclusive]);
    world.until_state(State::Progressing { phase: 0, step: Step::Baking { look: 2 } });
    let began = world.now.mono;
    world.until_state(State::Progressing { phase: 0, step: Step::Gate { look: 2 } });
    assert_eq!(world.now.mono.since(began), Millis(BAKE.0 / 2 + 1), "extended to 1.5 bakes in all");
    world.until_state(State::Progressing { phase: 1, step: Step::Warming { batch: 0 } });
    assert_eq!(world.rollout().paused, None);
}

#[test]
fn an_answer_to_the_look_before_is_none_to_this_one() {
    let mut world = World::rolling(4);
    world.verdicts.push_back(Verdict::Inconclusive);
    let asked = State::Progressing { phase: 0, step: Step::Gate { look: 2 } };
    world.until_state(asked);
    let rollout = world.rollout().id;
    world.feed(Event::Judged { rollout, look: 1, report: report(Verdict::Fail) }).unwrap();
    assert_eq!(world.state(), asked);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn where_nothing_is_to_be_extended_an_open_verdict_is_the_last() {
    let mut world = World::new(4);
    world.start(Plan { extension: 1.0, ..plan(4) }).unwrap();
    world.verdicts.push_back(Verdict::Inconclusive);
    world.until_state(State::Progressing { phase: 0, step: Step::Gate { look: 1 } });
    world.settle();
    assert!(matches!(world.state(), State::Progressing { phase: 1, .. }), "{:?}", world.state());
}

#[test]
fn a_pause_makes_the_validation_no_longer() {
    let mut world = World::rolling(2);
    world.until_state(State::Validating { judging: false });
    let (began, validation) = (world.now.mono, world.rollout().plan.validation);
    world.pass(Millis(validation.0 / 2));
    world.verb(VerbKind::Pause).unwrap();
    world.verb(VerbKind::Resume).unwrap();
    world.until_state(State::Validating { judging: true });
    assert_eq!(world.now.mono.since(began), validation + Millis(1));
}

#[test]
fn an_open_verdict_asks_a_person_where_that_was_declared() {
    let mut world = World::new(4);
    world.start(plan_with(4, Standby::Warm, ThinEvidence::Ask)).unwrap();
    world.verdicts.extend([Verdict::Inconclusive; 4]);
    world.until_state(HELD);
    assert_eq!(world.rollout().paused, Some(PauseReason::ThinEvidence));
    world.settle();
    assert_eq!(world.controller.next_timeout(), None, "nothing goes on by itself");

    world.verb(VerbKind::Resume).unwrap();
    assert_eq!(world.state(), State::Progressing { phase: 0, step: Step::Baking { look: 3 } });
    world.until_state(HELD);
    world.verb(VerbKind::Promote).unwrap();
    assert_eq!(world.state(), State::Progressing { phase: 1, step: Step::Warming { batch: 0 } });
}

#[test]
fn an_open_validation_asks_a_person_where_that_was_declared() {
    let mut world = World::new(2);
    world.start(plan_with(2, Standby::Warm, ThinEvidence::Ask)).unwrap();
    world.until_state(State::Validating { judging: false });
    world.verdicts.clear();
    world.verdicts.extend([Verdict::Inconclusive; 2]);
    world.until_state(State::Validating { judging: true });
    world.settle();
    assert_eq!(world.state(), State::Validating { judging: false });
    assert_eq!(world.rollout().paused, Some(PauseReason::ThinEvidence));

    world.verb(VerbKind::Resume).unwrap();
    world.until_state(State::Validating { judging: true });
    world.settle();
    assert_eq!(world.rollout().paused, Some(PauseReason::ThinEvidence), "asked again");
    world.verb(VerbKind::Promote).unwrap();
    assert_eq!(world.state(), State::Completed);
}

#[test]
fn a_pause_does_not_answer_the_question_that_thin_evidence_asks() {
    let mut world = World::new(4);
    world.start(plan_with(4, Standby::Warm, ThinEvidence::Ask)).unwrap();
    world.verdicts.extend([Verdict::Inconclusive; 4]);
    world.until_state(BAKING);
    world.verb(VerbKind::Pause).unwrap();
    world.until_state(HELD);
    world.verb(VerbKind::Resume).unwrap();
    assert_eq!(
        world.state(),
        State::Progressing { phase: 0, step: Step::Baking { look: 3 } },
        "resuming without evidence looks once more"
    );
}

#[test]
fn a_refused_baseline_ends_the_rollout_before_anything_is_touched() {
    let mut world = World::rolling(3);
    world.baseline_refused = Some("no task was seen".into());
    assert_eq!(world.finish(), State::PreflightFailed);
    assert_eq!(world.rollout().refused.as_deref(), Some("no task was seen"));
    world.assert_all_served_by(Side::Blue);
    world.baseline_refused = None;
    world.start(plan(3)).expect("a failed preflight does not block the next rollout");
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn blue_is_held_as_the_plan_says() {
    for (standby, want) in
        [(Standby::Warm, Want::Running), (Standby::Frozen, Want::Frozen), (Standby::Stopped, Want::Stopped)]
    {
        let mut world = World::new(2);
        world.start(plan_with(2, standby, ThinEvidence::Accept)).unwrap();
        world.until_state(State::Completed);
        world.settle();
        let blues = world.running.values().filter(|(_, side)| *side == Side::Blue).count();
        assert_eq!(blues, if want == Want::Stopped { 0 } else { 2 }, "{standby:?}");
        world.verb(VerbKind::Rollback).unwrap();
        assert_eq!(world.finish(), State::RolledBack, "{standby:?}");
        world.assert_all_served_by(Side::Blue);
    }
}

#[test]
fn blue_is_not_frozen_while_it_still_works_on_something() {
    let mut world = World::new(2);
    world.clinging = true;
    world.start(plan_with(2, Standby::Frozen, ThinEvidence::Accept)).unwrap();
    world.until_state(BAKING);
    world.settle();
    assert!(!world.done.iter().any(|command| matches!(command, Command::Freeze { .. })));
    world.until("frozen", |w| w.done.iter().any(|command| matches!(command, Command::Freeze { .. })));
}

#[test]
fn a_second_rollout_starts_from_what_the_first_left() {
    let mut world = World::rolling(2);
    world.finish();
    assert!(matches!(world.start(plan(2)), Err(Refusal::StalePlan(_))));
    let mut back = plan(2);
    for phase in &mut back.phases {
        for agent in phase.batches.iter_mut().flat_map(|batch| &mut batch.agents) {
            std::mem::swap(&mut agent.from, &mut agent.to);
        }
    }
    world.start(back).unwrap();
    assert_eq!(world.finish(), State::Committed);
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn what_cannot_start_is_refused() {
    let mut world = World::rolling(2);
    assert_eq!(world.start(plan(2)), Err(Refusal::RolloutActive(crate::id::RolloutId(1))));
    world.until_state(State::Completed);
    assert_eq!(world.start(plan(2)), Err(Refusal::NotCommitted(crate::id::RolloutId(1))));
    world.finish();
    let mut empty = plan(2);
    empty.phases.clear();
    assert_eq!(world.start(empty), Err(Refusal::EmptyPlan));
    let before = world.controller.clone();
    assert_eq!(world.feed(Event::FleetDeclared { agents: Vec::new() }), Err(Refusal::Declared));
    assert_eq!(world.controller, before);
}

#[test]
fn a_late_verdict_changes_nothing() {
    let mut world = World::rolling(2);
    world.until_state(State::Progressing { phase: 0, step: Step::Gate { look: 1 } });
    world.verdicts.push_back(Verdict::Fail);
    world.message();
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.state(), State::RollingBack { step: RollbackStep::Shift });
    assert_eq!(world.finish(), State::RolledBack);
    let trigger = &world.rollout().rollback.as_ref().unwrap().trigger;
    assert!(matches!(trigger, Trigger::Operator { .. }), "{trigger:?}");
}
