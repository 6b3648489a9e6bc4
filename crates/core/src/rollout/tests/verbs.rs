//! Every verb in every state: it does what it says, or is refused and changes nothing.

use super::world::{World, plan_with};
use crate::{
    analysis::Verdict,
    id::{RolloutId, Side},
    plan::Standby,
    rollout::{
        Command, Event, PauseReason, Refusal, RollbackStep, State, Step, Trigger, Verb, VerbKind,
        verbs::{Effect, effect},
    },
    spec::{Approval, ThinEvidence},
};

const fn at(step: Step) -> State {
    State::Progressing { phase: 0, step }
}

/// All states, with the sub-states that matter.
const STATES: [State; 20] = [
    State::Preflight,
    at(Step::AwaitingApproval),
    at(Step::Warming { batch: 0 }),
    at(Step::CuttingOver { batch: 0 }),
    at(Step::Halfway { next: 1 }),
    at(Step::Baking { look: 1 }),
    at(Step::Baking { look: 2 }),
    at(Step::Gate { look: 1 }),
    at(Step::Gate { look: 2 }),
    at(Step::Held),
    State::Validating { judging: false },
    State::Validating { judging: true },
    State::Completed,
    State::Committed,
    State::RollingBack { step: RollbackStep::Shift },
    State::RollingBack { step: RollbackStep::Swap },
    State::RollingBack { step: RollbackStep::Validate },
    State::RolledBack,
    State::NeedsAttention,
    State::PreflightFailed,
];

/// A world that stands there, with messages still under way.
fn reach(state: State) -> World {
    let agents = 4;
    let mut world = World::new(agents);
    world.clinging = true;
    let thin = if matches!(state, State::Progressing { step: Step::Held, .. }) {
        ThinEvidence::Ask
    } else {
        ThinEvidence::Accept
    };
    let standby = match state {
        State::NeedsAttention | State::RollingBack { step: RollbackStep::Shift } => Standby::Stopped,
        _ => Standby::Warm,
    };
    let mut plan = plan_with(agents, standby, thin);
    if matches!(state, State::Progressing { step: Step::Halfway { .. }, .. }) {
        let other = plan.phases[1].batches[0].clone();
        plan.phases[0].batches.push(other);
        plan.phases[0].second_half = Some(1);
        plan.phases.truncate(1);
    }
    if state == at(Step::AwaitingApproval) {
        plan.phases[0].approval = Approval::Required;
    }
    world.start(plan).unwrap();
    match state {
        State::Progressing { step: Step::Baking { look: 2 } | Step::Gate { look: 2 } | Step::Held, .. } => {
            world.verdicts.extend([Verdict::Inconclusive; 2]);
        }
        State::PreflightFailed => world.baseline_refused = Some("no".into()),
        State::RollingBack { step: RollbackStep::Validate } => {
            // An agent that the rollout does not touch is away, so that not all agents are served by blue.
            world.until_state(at(Step::Baking { look: 1 }));
            world.settle();
            world.mute.insert(("d".into(), Side::Blue));
            let blue = world.active("d");
            world.kill(blue);
            world.verb(VerbKind::Rollback).unwrap();
        }
        State::NeedsAttention => {
            world.until_state(at(Step::Baking { look: 1 }));
            world.until("blue is stopped", |w| w.done.iter().any(|command| matches!(command, Command::Stop { .. })));
            world.mute.insert(("a".into(), Side::Blue));
            world.verb(VerbKind::Rollback).unwrap();
        }
        State::RollingBack { .. } | State::RolledBack => {
            world.until_state(at(Step::Baking { look: 1 }));
            world.settle();
            world.verb(VerbKind::Rollback).unwrap();
        }
        _ => {}
    }
    world.until_state(state);
    world
}

/// Everything in the way is out of it, and whoever is asked lets the rollout go on.
fn end(world: &mut World) -> State {
    world.mute.clear();
    for _ in 0..20 {
        world.until("over or in need of somebody", |w| {
            w.state().is_over()
                || w.state() == State::NeedsAttention
                || w.rollout().paused.is_some()
                || w.state() == State::Completed
                || w.state() == at(Step::AwaitingApproval)
        });
        match world.state() {
            State::NeedsAttention => world.verb(VerbKind::Rollback).unwrap(),
            State::Progressing { step: Step::AwaitingApproval, .. } => world.verb(VerbKind::Approve).unwrap(),
            State::Progressing { step: Step::Held, .. } => world.verb(VerbKind::Promote).unwrap(),
            State::Completed => world.verb(VerbKind::Commit).unwrap(),
            state if state.is_over() => return world.finish(),
            _ => world.verb(VerbKind::Resume).unwrap(),
        }
    }
    panic!("it does not end: {:?}", world.state());
}

#[test]
fn every_state_can_be_reached() {
    for state in STATES {
        assert_eq!(reach(state).state(), state);
    }
}

#[test]
fn every_verb_in_every_state_is_done_or_refused_and_the_rollout_still_ends_well() {
    for state in STATES {
        for verb in VerbKind::ALL {
            let mut world = reach(state);
            let before = (world.controller.clone(), world.journal.len());
            match world.verb(verb) {
                Ok(()) => {}
                Err(Refusal::NotNow { why, .. }) => {
                    assert!(!why.is_empty());
                    assert_eq!((world.controller.clone(), world.journal.len()), before, "{verb:?} in {state:?}");
                }
                Err(other) => panic!("{verb:?} in {state:?}: {other}"),
            }
            let ended = end(&mut world);
            let undone = matches!(state, State::RollingBack { .. } | State::RolledBack | State::NeedsAttention)
                || (verb == VerbKind::Rollback && !matches!(state, State::Committed | State::PreflightFailed))
                || (verb == VerbKind::Reject && state == at(Step::AwaitingApproval));
            let expected = match state {
                State::PreflightFailed => State::PreflightFailed,
                _ if undone => State::RolledBack,
                _ => State::Committed,
            };
            assert_eq!(ended, expected, "{verb:?} in {state:?}");
            world.assert_all_served_by(if expected == State::Committed { Side::Green } else { Side::Blue });
        }
    }
}

#[test]
fn every_pair_of_state_and_verb_has_an_answer_that_helps() {
    let reasons = [None, Some(PauseReason::ThinEvidence)];
    for state in STATES {
        for paused in &reasons {
            for verb in VerbKind::ALL {
                if let Effect::Refuse(why) = effect(state, paused.as_ref(), verb) {
                    assert!(why.len() > 20, "{verb:?} in {state:?} is refused without saying what is possible");
                }
            }
        }
    }
}

#[test]
fn a_paused_rollout_stays_where_it_is_until_it_is_resumed() {
    for state in STATES {
        if !matches!(state, State::Preflight | State::Progressing { .. }) {
            continue;
        }
        let mut world = reach(state);
        world.verb(VerbKind::Pause).unwrap();
        for _ in 0..2_000 {
            if !world.message() && !world.tick() {
                break;
            }
        }
        assert!(
            matches!(
                world.state(),
                State::Progressing { phase: 0, step: Step::AwaitingApproval | Step::Held | Step::Warming { .. } }
            ),
            "paused in {state:?}, found in {:?}",
            world.state()
        );
        assert!(world.sides()[2..].iter().all(|side| *side == Some(Side::Blue)), "the next phase was touched");
        assert_eq!(end(&mut world), State::Committed);
    }
}

#[test]
fn a_pause_says_who_and_why() {
    let mut world = reach(at(Step::Baking { look: 1 }));
    world.verb(VerbKind::Pause).unwrap();
    let asked = PauseReason::Asked { by: "ann".into(), why: "because".into() };
    assert_eq!(world.rollout().paused, Some(asked.clone()));
    world.verb(VerbKind::Pause).unwrap();
    assert_eq!(world.rollout().paused, Some(asked), "the first one stands");
    world.verb(VerbKind::Resume).unwrap();
    assert_eq!(world.rollout().paused, None);
}

#[test]
fn promote_ends_the_bake_at_once() {
    let mut world = reach(at(Step::Baking { look: 1 }));
    let began = world.now.mono;
    world.verb(VerbKind::Promote).unwrap();
    world.until_state(at(Step::Warming { batch: 0 }).next_phase());
    assert_eq!(world.now.mono, began);
}

#[test]
fn a_rollback_during_a_cutover_waits_for_it_and_goes_back() {
    let mut world = World::rolling(4);
    world.until("a cutover to green is under way", |w| {
        w.state() == at(Step::CuttingOver { batch: 0 })
            && w.todo.iter().any(|command| matches!(command, Command::CutOver { .. }))
    });
    world.verb(VerbKind::Rollback).unwrap();
    assert!(world.todo.iter().filter(|command| matches!(command, Command::CutOver { .. })).count() == 1);
    let shifting = State::RollingBack { step: RollbackStep::Shift };
    assert_eq!(world.state(), shifting, "blue has the traffic, but it is about to leave it");
    assert_eq!(world.finish(), State::RolledBack);
    world.assert_all_served_by(Side::Blue);
}

#[test]
fn verbs_are_called_what_they_are_written_down_as() {
    for verb in VerbKind::ALL {
        assert_eq!(serde_json::to_value(verb).unwrap(), verb.as_str());
    }
}

#[test]
fn a_refusal_names_the_verb_and_the_state() {
    let refused = reach(at(Step::Baking { look: 1 })).verb(VerbKind::Commit).unwrap_err().to_string();
    let expected = "cannot commit rollout 1 while it is progressing: a rollout can be committed once it is completed";
    assert_eq!(refused, expected);
}

#[test]
fn a_trigger_by_hand_says_who_and_why() {
    let trigger = |why: &str| Trigger::Operator { by: "ann".into(), why: why.into() }.to_string();
    assert_eq!((trigger(""), trigger("odd")), ("asked by ann".to_owned(), "asked by ann: odd".to_owned()));
}

#[test]
fn an_unknown_rollout_is_refused() {
    let mut world = World::new(1);
    assert!(matches!(world.verb(VerbKind::Pause), Err(Refusal::NoSuchRollout(_))));
}

#[test]
fn only_the_latest_rollout_can_be_rolled_back() {
    let mut world = reach(State::RolledBack);
    world.finish();
    world.start(plan_with(4, Standby::Warm, ThinEvidence::Accept)).unwrap();
    for verb in [VerbKind::Rollback, VerbKind::Retry] {
        let first = Verb::new(verb, RolloutId(1), "ann", "");
        let refused = world.feed(Event::Verb(first));
        assert!(matches!(refused, Err(Refusal::NotNow { .. })), "{refused:?}");
    }
}

#[test]
fn a_rollback_that_was_already_asked_for_is_not_begun_again() {
    let mut world = reach(State::RollingBack { step: RollbackStep::Shift });
    let began = world.rollout().rollback.clone();
    world.pass(crate::time::Millis(5));
    world.verb(VerbKind::Rollback).unwrap();
    assert_eq!(world.rollout().rollback, began);
}

trait NextPhase {
    fn next_phase(self) -> Self;
}

impl NextPhase for State {
    fn next_phase(self) -> Self {
        match self {
            Self::Progressing { phase, step } => Self::Progressing { phase: phase + 1, step },
            other => other,
        }
    }
}

#[test]
fn a_second_pause_leaves_the_first_as_it_was_said() {
    let mut world = World::rolling(4);
    world.verb_by(VerbKind::Pause, "ann").unwrap();
    let first = world.rollout().paused.clone();
    assert!(matches!(&first, Some(PauseReason::Asked { by, .. }) if by == "ann"), "{first:?}");
    world.verb_by(VerbKind::Pause, "bob").unwrap();
    assert_eq!(world.rollout().paused, first);
}
