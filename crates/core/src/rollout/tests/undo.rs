//! The way back: from every state, of a part, without room, and only ended when blue is seen to work.

use std::collections::BTreeSet;

use super::world::{World, exit, plan_with, replay, scarce_plan};
use crate::{
    id::{AgentName, Side},
    plan::{Plan, Standby},
    rollout::{
        Command, Event, Only, PauseReason, Refusal, RollbackRecord, RollbackStep, Rollout, State, Step, Trigger, Verb,
        VerbKind,
    },
    spec::{OnSharedFault, Scope, ThinEvidence},
    time::{Millis, UnixMillis},
    watch::{Alarm, AlarmKind},
};

const BAKING: State = State::Progressing { phase: 0, step: Step::Baking { look: 1 } };

fn alarm(kind: AlarmKind) -> Alarm {
    Alarm {
        kind,
        shared: false,
        harm_began: UnixMillis(1_000_000),
        agents: vec!["a".into()],
        types: vec!["worker".into()],
        why: "the test says so".into(),
        figures: Vec::new(),
    }
}

fn raise(world: &mut World, alarm: Alarm) {
    let rollout = world.rollout().id;
    world.feed(Event::Alarm { rollout, alarm: Box::new(alarm) }).unwrap();
}

fn with(agents: usize, change: impl FnOnce(&mut Plan)) -> World {
    let mut plan = plan_with(agents, Standby::Warm, ThinEvidence::Accept);
    change(&mut plan);
    let mut world = World::new(agents);
    world.start(plan).unwrap();
    world
}

fn take_back(world: &mut World, only: Only) -> Result<(), Refusal> {
    let rollout = world.rollout().id;
    let verb = Verb { verb: VerbKind::Rollback, rollout, by: "ann".into(), reason: "odd".into(), only: Some(only) };
    world.feed(Event::Verb(verb))
}

fn agents(names: &[&str]) -> Only {
    Only::Agents(names.iter().map(|name| AgentName::from(*name)).collect())
}

#[test]
fn an_alarm_takes_everything_back_from_each_state_that_moves() {
    let states = [
        State::Progressing { phase: 0, step: Step::Warming { batch: 0 } },
        State::Progressing { phase: 0, step: Step::CuttingOver { batch: 0 } },
        BAKING,
        State::Progressing { phase: 0, step: Step::Gate { look: 1 } },
        State::Progressing { phase: 1, step: Step::Warming { batch: 0 } },
        State::Progressing { phase: 1, step: Step::CuttingOver { batch: 0 } },
        State::Validating { judging: false },
        State::Validating { judging: true },
        State::Completed,
    ];
    for state in states {
        let mut world = World::rolling(4);
        world.until_state(state);
        raise(&mut world, alarm(AlarmKind::Errors));
        assert!(matches!(world.state(), State::RollingBack { .. }), "{state:?}");
        assert_eq!(world.finish(), State::RolledBack, "{state:?}");
        world.assert_all_served_by(Side::Blue);
        let undone = world.rollout().rollback.clone().unwrap();
        assert!(matches!(&undone.trigger, Trigger::Alarm(alarm) if alarm.kind == AlarmKind::Errors));
        assert_eq!(undone.harm_began, Some(UnixMillis(1_000_000)));
        assert!(undone.detection().is_some() && undone.execution().is_some() && undone.validation().is_some());
    }
}

#[test]
fn an_alarm_of_a_rollout_that_touches_nothing_changes_nothing() {
    let mut world = World::rolling(2);
    assert_eq!(world.state(), State::Preflight);
    raise(&mut world, alarm(AlarmKind::ModelServer));
    assert_eq!(world.state(), State::Preflight);
    assert_eq!(world.finish(), State::Committed);
    raise(&mut world, alarm(AlarmKind::ModelServer));
    assert_eq!(world.state(), State::Committed);
}

#[test]
fn what_fires_during_a_rollback_is_kept_beside_what_began_it() {
    let mut world = World::new(2);
    world.start(plan_with(2, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world.until_state(BAKING);
    world.settle();
    raise(&mut world, alarm(AlarmKind::Errors));
    raise(&mut world, alarm(AlarmKind::Memory));
    assert_eq!(world.finish(), State::RolledBack);
    let undone = world.rollout().rollback.clone().unwrap();
    assert!(matches!(&undone.trigger, Trigger::Alarm(alarm) if alarm.kind == AlarmKind::Errors));
    assert!(matches!(&undone.also[..], [Trigger::Alarm(alarm)] if alarm.kind == AlarmKind::Memory), "{undone:?}");
}

#[test]
fn of_what_fires_during_a_rollback_the_first_thirty_two_are_kept() {
    let mut world = World::rolling(2);
    world.until_state(BAKING);
    (0..40).for_each(|_| raise(&mut world, alarm(AlarmKind::Errors)));
    assert_eq!(world.rollout().rollback.as_ref().map(|record| record.also.len()), Some(32));
}

#[test]
fn a_rollback_is_timed_from_the_harm_to_its_end() {
    let mut world = World::rolling(2);
    world.until_state(BAKING);
    raise(&mut world, alarm(AlarmKind::Errors));
    let begun = world.rollout().rollback.clone().unwrap();
    let at = |secs: u64| UnixMillis(begun.began.0 + secs * 1000);
    let record = RollbackRecord {
        harm_began: Some(UnixMillis(begun.began.0 - 20_000)),
        shifted: Some(at(30)),
        validated: Some(at(70)),
        ..begun
    };
    let spans = |record: &RollbackRecord| {
        [record.detection(), record.execution(), record.validation(), record.end_to_end()]
            .map(|span| span.map(|it| it.0 / 1000))
    };
    assert_eq!(spans(&record), [Some(20), Some(30), Some(40), Some(90)]);
    let by_hand = RollbackRecord { harm_began: None, ..record.clone() };
    assert_eq!(spans(&by_hand), [None, Some(30), Some(40), Some(70)], "from the decision on");
    let under_way = RollbackRecord { validated: None, ..record };
    assert_eq!(spans(&under_way), [Some(20), Some(30), None, None]);
}

#[test]
fn a_rollback_is_not_over_while_something_stands_against_blue() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    world.fault_of_blue = Some("the model server cannot be reached".into());
    raise(&mut world, alarm(AlarmKind::ModelServer));
    world.until("the check", |w| w.rollout().rollback.as_ref().is_some_and(|record| record.checked));
    assert_eq!(world.state(), State::RollingBack { step: RollbackStep::Validate });
    // It heals in time.
    let rollout = world.rollout().id;
    world.feed(Event::RollbackChecked { rollout, fault: None }).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn a_rollback_whose_blue_stays_at_fault_needs_a_person_who_can_try_again() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    world.fault_of_blue = Some("the model server cannot be reached".into());
    raise(&mut world, alarm(AlarmKind::ModelServer));
    world.until_state(State::NeedsAttention);
    let undone = world.rollout().rollback.clone().unwrap();
    assert_eq!(undone.fault.as_deref(), Some("the model server cannot be reached"));
    assert_eq!(undone.validated, None);
    world.settle();
    world.fault_of_blue = None;
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
    let undone = world.rollout().rollback.clone().unwrap();
    assert!(matches!(&undone.trigger, Trigger::Alarm(_)), "what it was for stays to be seen: {undone:?}");
    assert!(matches!(&undone.also[..], [Trigger::Operator { .. }]), "{undone:?}");
}

#[test]
fn a_check_of_before_blue_had_the_traffic_does_not_end_a_rollback() {
    let mut world = World::new(2);
    world.start(plan_with(2, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world.until_state(BAKING);
    world.settle();
    raise(&mut world, alarm(AlarmKind::Errors));
    assert_eq!(world.state(), State::RollingBack { step: RollbackStep::Shift });
    let rollout = world.rollout().id;
    world.feed(Event::RollbackChecked { rollout, fault: None }).unwrap();
    assert!(!world.rollout().rollback.as_ref().unwrap().checked);
    assert_eq!(world.finish(), State::RolledBack);
}

#[test]
fn a_shared_fault_holds_where_the_policy_says_so_and_rolls_back_where_it_does_not() {
    let shared = || Alarm { shared: true, ..alarm(AlarmKind::ModelServer) };
    let mut held = with(4, |plan| plan.triggers.on_shared_fault = OnSharedFault::Hold);
    held.until_state(BAKING);
    raise(&mut held, shared());
    assert_eq!(held.state(), BAKING);
    assert!(matches!(held.rollout().paused, Some(PauseReason::SharedFault { .. })));
    held.until_state(State::Progressing { phase: 0, step: Step::Held });
    held.verb(VerbKind::Resume).unwrap();
    assert_eq!(held.finish(), State::Committed);

    let mut back = World::rolling(4);
    back.until_state(BAKING);
    raise(&mut back, shared());
    assert_eq!(back.finish(), State::RolledBack);
    // Green is not what is at fault: it may finish what it holds.
    assert!(!back.done.iter().any(|command| matches!(command, Command::CutOver { revoke: true, .. })));
}

#[test]
fn by_policy_only_the_part_that_is_to_blame_goes_back_and_a_person_decides_about_the_rest() {
    let mut world = with(6, |plan| plan.triggers.scope = Scope::Agent);
    world.until_state(BAKING);
    world.settle();
    raise(&mut world, alarm(AlarmKind::FailureStreak));
    assert!(matches!(world.rollout().paused, Some(PauseReason::PartlyRolledBack { .. })));
    world.until("a is back", |w| !w.rollout().retreats[0].is_under_way());
    assert_eq!(world.sides()[..3], [Some(Side::Blue), Some(Side::Green), Some(Side::Green)]);
    let revoked = world.done.iter().find_map(|command| match command {
        Command::CutOver { revoke: true, moves, .. } => Some(moves.len()),
        _ => None,
    });
    assert_eq!(revoked, Some(1), "only what is blamed loses its leases");
    world.verb(VerbKind::Resume).unwrap();
    assert_eq!(world.finish(), State::Committed);
    let view = world.controller.view(world.now);
    let revisions: Vec<&str> = view.agents.iter().map(|agent| agent.blue.revision.as_str()).collect();
    assert_eq!(revisions, ["v1", "v2", "v2", "v2", "v2", "v2"]);
}

#[test]
fn where_all_that_moved_is_to_blame_the_whole_rollout_goes_back() {
    for scope in [Scope::Type, Scope::Phase] {
        let mut world = with(6, |plan| plan.triggers.scope = scope);
        world.until_state(BAKING);
        raise(&mut world, alarm(AlarmKind::Errors));
        assert!(world.rollout().retreats.is_empty(), "{scope:?}");
        assert_eq!(world.finish(), State::RolledBack, "{scope:?}");
    }
}

#[test]
fn where_a_trigger_names_nobody_the_whole_rollout_goes_back() {
    let mut world = with(6, |plan| plan.triggers.scope = Scope::Agent);
    world.until_state(BAKING);
    raise(&mut world, Alarm { agents: Vec::new(), ..alarm(AlarmKind::ModelServer) });
    assert_eq!(world.finish(), State::RolledBack);
}

#[test]
fn parts_that_together_are_everything_are_a_whole_rollback() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    take_back(&mut world, agents(&["a", "b"])).unwrap();
    assert_eq!(world.state(), BAKING);
    take_back(&mut world, agents(&["c", "d"])).unwrap();
    assert!(matches!(world.state(), State::RollingBack { .. }), "{:?}", world.state());
    assert_eq!(world.finish(), State::RolledBack);
}

#[test]
fn by_hand_a_part_goes_back_and_stays_while_the_rest_goes_on() {
    for only in [agents(&["a", "e"]), Only::Phase("canary".into())] {
        let mut world = World::rolling(6);
        world.until_state(BAKING);
        take_back(&mut world, only.clone()).unwrap();
        assert_eq!(world.rollout().paused, None);
        let expected: BTreeSet<AgentName> = match &only {
            Only::Agents(agents) => agents.clone(),
            Only::Types(_) | Only::Phase(_) => ["a", "b", "c"].into_iter().map(AgentName::from).collect(),
        };
        assert_eq!(world.rollout().held_back(), expected.iter().collect());
        assert_eq!(world.finish(), State::Committed, "{only}");
        let view = world.controller.view(world.now);
        for agent in &view.agents {
            let revision = if expected.contains(&agent.name) { "v1" } else { "v2" };
            assert_eq!(agent.blue.revision.as_str(), revision, "{}", agent.name);
        }
        assert_eq!(world.running.len(), 6);
    }
}

#[test]
fn a_part_that_covers_everything_is_a_whole_rollback() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    take_back(&mut world, Only::Types(["worker".into()].into())).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn a_part_that_the_rollout_does_not_move_is_refused_by_name() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    for (only, named) in [
        (agents(&["a", "nobody"]), "agent a, nobody"),
        (Only::Phase("fool".into()), "phase fool"),
        (Only::Types(["no".into()].into()), "agent of type no"),
    ] {
        let refused = take_back(&mut world, only).unwrap_err().to_string();
        assert!(refused.contains(&format!("moves no {named};")), "{refused}");
    }
    assert!(world.rollout().retreats.is_empty());
}

#[test]
fn a_part_that_is_back_already_is_not_taken_back_again() {
    let mut world = World::rolling(6);
    world.until_state(BAKING);
    take_back(&mut world, agents(&["a", "e"])).unwrap();
    take_back(&mut world, agents(&["a"])).unwrap();
    take_back(&mut world, agents(&["a", "b"])).unwrap();
    let parts: Vec<usize> = world.rollout().retreats.iter().map(|retreat| retreat.agents.len()).collect();
    assert_eq!(parts, [2, 1]);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn a_whole_rollback_overtakes_a_part_that_is_under_way() {
    let mut world = World::new(4);
    world.start(plan_with(4, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world.until_state(BAKING);
    world.settle();
    take_back(&mut world, agents(&["a"])).unwrap();
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
    assert!(!world.rollout().retreats[0].is_under_way());
}

#[test]
fn a_commit_waits_for_a_part_that_is_still_on_its_way_back() {
    let mut world = World::new(4);
    world.start(plan_with(4, Standby::Stopped, ThinEvidence::Accept)).unwrap();
    world.until_state(State::Completed);
    world.settle();
    take_back(&mut world, agents(&["b"])).unwrap();
    world.verb(VerbKind::Commit).unwrap();
    assert_eq!(world.state(), State::Completed);
    assert_eq!(world.finish(), State::Committed);
    let view = world.controller.view(world.now);
    assert_eq!(view.agents[1].blue.revision.as_str(), "v1");
    assert_eq!(view.agents[0].blue.revision.as_str(), "v2");
}

#[test]
fn where_a_blamed_green_leaves_no_room_it_goes_before_blue_comes() {
    let mut world = World::new(6);
    world.running_max = 8;
    world.start(scarce_plan(6, 8)).unwrap();
    world.until_state(State::Completed);
    world.settle();
    let began = (world.done.len(), world.now.mono);
    raise(&mut world, alarm(AlarmKind::Memory));
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
    let stopped_first = world.done[began.0..].iter().take_while(|c| !matches!(c, Command::CutOver { .. }));
    let stops = stopped_first.filter(|command| matches!(command, Command::Stop { .. })).count();
    assert_eq!(stops, 4, "all but the two whose blues had room beside them");
    assert_eq!(world.now.mono.since(began.1), Millis::ZERO, "nothing waits for a timer");
}

#[test]
fn on_the_way_back_what_is_held_is_waited_for_only_so_long() {
    let mut world = World::draining(4, Millis::from_mins(20));
    world.start(plan_with(4, Standby::Warm, ThinEvidence::Accept)).unwrap();
    world.until_state(BAKING);
    world.settle();
    let began = world.done.len();
    world.verb(VerbKind::Rollback).unwrap();
    world.finish();
    let drains = |commands: &[Command]| -> Vec<Millis> {
        let drains = commands.iter().filter_map(|command| match command {
            Command::CutOver { drain, .. } => Some(*drain),
            _ => None,
        });
        drains.collect()
    };
    assert_eq!(drains(&world.done[..began]).last(), Some(&Millis::from_mins(20)), "on the way there");
    assert_eq!(drains(&world.done[began..]), [Millis::from_secs(45)]);
}

#[test]
fn a_green_that_is_not_blamed_finishes_what_it_holds_and_one_that_is_has_two_seconds() {
    let graces = |world: &World, began: usize| -> Vec<Millis> {
        let graces = world.done[began..].iter().filter_map(|command| match command {
            Command::Stop { grace, .. } => Some(*grace),
            _ => None,
        });
        graces.collect()
    };
    for (blamed, grace) in [(false, Millis::from_secs(35)), (true, Millis::from_secs(2))] {
        let mut world = World::rolling(2);
        world.until_state(BAKING);
        world.settle();
        world.clinging = true;
        let began = world.done.len();
        if blamed {
            raise(&mut world, alarm(AlarmKind::Errors));
        } else {
            world.verb(VerbKind::Rollback).unwrap();
        }
        world.settle();
        assert_eq!(world.sides()[0], Some(Side::Blue));
        assert_eq!(graces(&world, began), [], "it still holds something");
        assert_eq!(world.finish(), State::RolledBack);
        assert_eq!(graces(&world, began), [grace], "blamed: {blamed}");
    }
}

#[test]
fn one_that_is_killed_for_its_memory_is_harm_at_once() {
    let mut world = World::rolling(4);
    world.until_state(BAKING);
    world.settle();
    let green = world.active("a");
    world.running.remove(&green);
    let killed = crate::port::driver::Exit { out_of_memory: true, ..exit(false) };
    world.feed(Event::Exited { instance: green, exit: killed }).unwrap();
    assert_eq!(world.finish(), State::RolledBack);
    let undone = world.rollout().rollback.clone().unwrap();
    assert!(matches!(undone.trigger, Trigger::OutOfMemory { .. }), "{undone:?}");
}

#[test]
fn a_drill_moves_one_batch_and_takes_it_back() {
    let mut world = with(4, |plan| {
        plan.drill = true;
        plan.phases.truncate(1);
    });
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
    let undone = world.rollout().rollback.clone().unwrap();
    assert_eq!(undone.trigger, Trigger::Drill);
    assert!(undone.execution().is_some() && undone.validation().is_some());
    assert!(undone.execution().unwrap() < Millis::from_secs(60));
}

#[test]
fn the_second_half_of_a_phase_moves_when_half_of_its_bake_is_over() {
    let mut world = with(8, |plan| plan.phases[0].second_half = Some(1));
    world.until_state(State::Progressing { phase: 0, step: Step::Halfway { next: 1 } });
    world.settle();
    assert_eq!(world.sides()[..4], [Some(Side::Green), Some(Side::Green), Some(Side::Blue), Some(Side::Blue)]);
    let (began, half) = (world.now.mono, world.rollout().plan.phases[0].bake.compressed(2.0));
    world.until_state(BAKING);
    assert!(world.now.mono.since(began) >= half);
    assert_eq!(world.rollout().phases[0].after_second, Some(1), "one window for both halves");
    let asked = world.done.iter().filter(|c| matches!(c, Command::OpenWindow { .. })).count();
    assert_eq!(asked, 2, "the baseline's and the phase's");
    world.until_state(State::Progressing { phase: 0, step: Step::Gate { look: 1 } });
    assert!(world.now.mono.since(began) >= half + half);
    assert_eq!(world.finish(), State::Committed);
}

#[test]
fn promoting_at_half_time_moves_the_second_half() {
    let mut world = with(8, |plan| plan.phases[0].second_half = Some(1));
    world.until_state(State::Progressing { phase: 0, step: Step::Halfway { next: 1 } });
    let began = world.now.mono;
    world.verb(VerbKind::Promote).unwrap();
    world.until_state(BAKING);
    assert_eq!(world.now.mono, began);
}

/// The controller is killed after each single message of a way back, and the end is the same.
#[test]
fn a_crash_at_any_point_of_a_partial_or_scarce_way_back_changes_nothing() {
    let partial = || {
        let mut world = with(6, |plan| plan.triggers.scope = Scope::Agent);
        world.until_state(BAKING);
        raise(&mut world, alarm(AlarmKind::Health));
        world.verb(VerbKind::Resume).unwrap();
        world
    };
    let scarce = || {
        let mut world = World::new(6);
        world.running_max = 8;
        world.start(scarce_plan(6, 8)).unwrap();
        world.until_state(State::Completed);
        world.settle();
        raise(&mut world, alarm(AlarmKind::Memory));
        world
    };
    let worlds: [(&dyn Fn() -> World, State); 2] = [(&partial, State::Committed), (&scarce, State::RolledBack)];
    for (begin, end) in worlds {
        for after in 0..80 {
            let mut world = begin();
            for _ in 0..after {
                world.message();
            }
            world.crash();
            assert_eq!(world.finish(), end, "killed after {after} messages");
            assert_eq!(replay(&world.journal), world.controller);
            assert_eq!(world.running.len(), 6);
        }
    }
}

#[test]
fn a_rollback_record_of_an_earlier_controller_is_read() {
    let mut world = World::rolling(2);
    world.until_state(BAKING);
    raise(&mut world, alarm(AlarmKind::Errors));
    world.finish();
    let text = serde_json::to_string(world.rollout()).unwrap();
    let back: Rollout = serde_json::from_str(&text).unwrap();
    assert_eq!(&back, world.rollout());
}
