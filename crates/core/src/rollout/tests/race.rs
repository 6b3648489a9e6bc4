//! Two operators at once, with views that are out of date, whose requests arrive late or twice, while the controller
//! is killed between any two messages.

use super::world::{World, plan_with, replay};
use crate::{
    analysis::Verdict,
    id::RolloutId,
    plan::Standby,
    rollout::{Event, Once, PauseReason, Position, Refusal, State, Step, Verb, VerbKind},
    spec::{Approval, ThinEvidence},
    time::Millis,
};

const fn at(phase: usize, step: Step) -> State {
    State::Progressing { phase, step }
}

fn seen(world: &World) -> Position {
    world.rollout().position()
}

fn expecting(verb: VerbKind, expect: Position) -> Event {
    Event::Verb(Verb { expect: Some(expect), ..Verb::new(verb, RolloutId(1), "bob", "") })
}

fn under(key: &str, verb: Verb) -> Event {
    let once = Once::new(key, &verb).unwrap();
    Event::Verb(Verb { once: Some(once), ..verb })
}

/// It was refused because the rollout had moved on, and nothing changed.
fn assert_moved(world: &mut World, event: Event) {
    let (before, journal) = (world.controller.clone(), world.journal.len());
    let refused = world.feed(event);
    assert!(matches!(refused, Err(Refusal::Moved { .. })), "{refused:?}");
    assert_eq!((&world.controller, world.journal.len()), (&before, journal));
}

#[test]
fn two_promotes_of_one_bake_never_end_the_next() {
    let mut world = World::rolling(4);
    world.until_state(at(0, Step::Baking { look: 1 }));
    let (ann, bob) = (seen(&world), seen(&world));
    world.feed(expecting(VerbKind::Promote, ann)).unwrap();
    // At the gate the bake that bob meant has ended as he wanted.
    assert_eq!(world.state(), at(0, Step::Gate { look: 1 }));
    world.feed(expecting(VerbKind::Promote, bob.clone())).unwrap();
    assert_eq!(world.state(), at(0, Step::Gate { look: 1 }));
    for state in [at(1, Step::Warming { batch: 0 }), at(1, Step::Baking { look: 1 }), at(1, Step::Gate { look: 1 })] {
        world.until_state(state);
        assert_moved(&mut world, expecting(VerbKind::Promote, bob.clone()));
    }
}

#[test]
fn an_extended_bake_is_not_the_one_that_was_seen() {
    let mut world = World::rolling(4);
    world.verdicts.push_back(Verdict::Inconclusive);
    world.until_state(at(0, Step::Baking { look: 1 }));
    let first = seen(&world);
    world.until_state(at(0, Step::Baking { look: 2 }));
    assert_moved(&mut world, expecting(VerbKind::Promote, first));
}

#[test]
fn a_bake_that_is_repeated_is_another_one() {
    let mut world = World::new(4);
    world.start(plan_with(4, Standby::Warm, ThinEvidence::Ask)).unwrap();
    world.verdicts.extend([Verdict::Inconclusive; 4]);
    let mut looks = Vec::new();
    for _ in 0..2 {
        world.until_state(at(0, Step::Held));
        world.verb(VerbKind::Resume).unwrap();
        world.until_state(at(0, Step::Baking { look: 3 }));
        looks.push(seen(&world));
    }
    assert_moved(&mut world, expecting(VerbKind::Promote, looks[0].clone()));
    world.feed(expecting(VerbKind::Promote, looks[1].clone())).unwrap();
}

#[test]
fn resuming_one_s_own_pause_does_not_lift_another_s() {
    let mut world = World::rolling(4);
    world.until_state(at(0, Step::Baking { look: 1 }));
    world.verb_by(VerbKind::Pause, "ann").unwrap();
    let first = seen(&world);
    world.feed(expecting(VerbKind::Resume, first.clone())).unwrap();
    // As if nothing had been in between: the same person, the same words.
    world.verb_by(VerbKind::Pause, "ann").unwrap();
    assert_moved(&mut world, expecting(VerbKind::Resume, first));
    let second = seen(&world);
    // The gate is judged meanwhile, and holds: it is the same pause.
    world.until_state(at(0, Step::Held));
    world.feed(expecting(VerbKind::Resume, second.clone())).unwrap();
    assert_eq!(world.rollout().paused, None);
    world.feed(expecting(VerbKind::Resume, second)).unwrap();
}

#[test]
fn resuming_a_pause_does_not_answer_what_the_gate_asked_since() {
    let mut world = World::new(4);
    world.start(plan_with(4, Standby::Warm, ThinEvidence::Ask)).unwrap();
    world.verdicts.extend([Verdict::Inconclusive; 2]);
    world.until_state(at(0, Step::Baking { look: 2 }));
    world.verb(VerbKind::Pause).unwrap();
    let mine = seen(&world);
    world.until_state(at(0, Step::Held));
    assert_eq!(world.rollout().paused, Some(PauseReason::ThinEvidence));
    assert_moved(&mut world, expecting(VerbKind::Resume, mine));
}

#[test]
fn what_takes_back_or_holds_up_is_never_too_late() {
    for verb in [VerbKind::Rollback, VerbKind::Pause] {
        let mut world = World::rolling(4);
        let early = seen(&world);
        world.until_state(at(1, Step::Baking { look: 1 }));
        world.feed(expecting(verb, early)).unwrap();
        let held = world.rollout().paused.is_some() || matches!(world.state(), State::RollingBack { .. });
        assert!(held, "{verb:?}");
    }
}

#[test]
fn a_commit_is_of_what_was_seen_completed() {
    let mut world = World::rolling(4);
    world.until_state(State::Completed);
    let before = seen(&world);
    let part = crate::rollout::Only::Agents(["b".into()].into());
    let hold = Verb { only: Some(part), ..Verb::new(VerbKind::Rollback, RolloutId(1), "ann", "") };
    world.feed(Event::Verb(hold)).unwrap();
    assert_moved(&mut world, expecting(VerbKind::Commit, before));
}

#[test]
fn one_approval_lets_one_phase_begin() {
    let mut plan = plan_with(4, Standby::Warm, ThinEvidence::Accept);
    plan.phases.iter_mut().for_each(|phase| phase.approval = Approval::Required);
    let mut world = World::new(4);
    world.start(plan).unwrap();
    world.until_state(at(0, Step::AwaitingApproval));
    let first = seen(&world);
    world.feed(expecting(VerbKind::Approve, first.clone())).unwrap();
    assert_moved(&mut world, expecting(VerbKind::Approve, first.clone()));
    world.until_state(at(1, Step::AwaitingApproval));
    assert_moved(&mut world, expecting(VerbKind::Approve, first.clone()));
    assert_moved(&mut world, expecting(VerbKind::Reject, first));
}

#[test]
fn a_position_is_carried_as_it_was_handed_out() {
    let mut world = World::rolling(4);
    world.until_state(at(1, Step::Baking { look: 1 }));
    let position = seen(&world);
    assert_eq!(position.to_string().parse(), Ok(position.clone()));
    let written = serde_json::to_value(&position).unwrap();
    assert_eq!(written, position.to_string());
    assert_eq!(serde_json::from_value::<Position>(written).unwrap(), position);
    let of_length = |length| format!("1/{}/1/1/1", "x".repeat(length)).parse::<Position>();
    assert!(of_length(64).is_ok() && of_length(65).is_err());
    assert_eq!(position.words(), "phase 2 baking look 1");
    assert!(position.to_string().bytes().all(|b| b.is_ascii_graphic() && b != b'"'), "{position}");
    for wrong in ["", "1", "1/x/1/1", "1/x/1/1/1/1", "a/x/1/1/1", "1/X/1/1/1", "1//1/1/1", "1/x/-1/1/1", "1/x y/1/1/1"]
    {
        assert!(wrong.parse::<Position>().is_err(), "{wrong:?}");
    }
}

#[test]
fn a_repeated_request_is_done_once_also_over_a_crash() {
    let mut world = World::rolling(4);
    world.until_state(at(0, Step::Baking { look: 1 }));
    let pause = Verb::new(VerbKind::Pause, RolloutId(1), "ann", "lunch");
    let once = |verb: &Verb| Once::new("k1", verb).unwrap();
    assert_eq!(world.controller.check_key(Some(&once(&pause))), Ok(()));
    world.feed(under("k1", pause.clone())).unwrap();
    let repeated = Err(Refusal::Repeated(RolloutId(1)));
    assert_eq!(world.controller.check_key(Some(&once(&pause))), repeated, "and asking alone says so too");
    assert_eq!(once(&pause).key(), "k1");
    world.verb(VerbKind::Resume).unwrap();
    for crash in [false, true] {
        if crash {
            world.crash();
        }
        let journal = world.journal.len();
        assert_eq!(world.feed(under("k1", pause.clone())), Err(Refusal::Repeated(RolloutId(1))));
        assert_eq!((world.rollout().paused.as_ref(), world.journal.len()), (None, journal), "it paused once more");
        let other = Verb { reason: "dinner".into(), ..pause.clone() };
        assert_eq!(world.feed(under("k1", other)), Err(Refusal::KeyReused("k1".into())));
        assert_eq!(world.journal.len(), journal);
    }
}

#[test]
fn a_start_that_is_said_twice_starts_one_rollout() {
    let mut world = World::new(4);
    let start = |content: &str| Event::Planned {
        plan: Box::new(plan_with(4, Standby::Warm, ThinEvidence::Accept)),
        by: "ci".into(),
        again: None,
        once: Some(Once::new("run-7", &content).unwrap()),
    };
    world.feed(start("v2")).unwrap();
    assert_eq!(world.feed(start("v2")), Err(Refusal::Repeated(RolloutId(1))));
    assert_eq!(world.feed(start("v3")), Err(Refusal::KeyReused("run-7".into())));
    world.until_state(at(0, Step::Baking { look: 1 }));
    world.verb(VerbKind::Rollback).unwrap();
    world.finish();
    assert_eq!(world.feed(start("v2")), Err(Refusal::Repeated(RolloutId(1))), "also when it is over");
    assert_eq!(world.controller.rollouts().len(), 1);
}

#[test]
fn a_refused_request_leaves_its_key_unused() {
    let mut world = World::rolling(4);
    let promote = Verb::new(VerbKind::Promote, RolloutId(1), "ann", "");
    assert!(matches!(world.feed(under("k", promote.clone())), Err(Refusal::NotNow { .. })));
    world.until_state(at(0, Step::Baking { look: 1 }));
    world.feed(under("k", promote)).unwrap();
    assert_eq!(world.state(), at(0, Step::Gate { look: 1 }));
}

#[test]
fn a_preview_tells_what_a_step_does_and_does_nothing() {
    let mut world = World::rolling(4);
    world.until_state(at(1, Step::Baking { look: 1 }));
    world.settle();
    let before = world.controller.clone();
    for verb in VerbKind::ALL {
        let event = Event::Verb(Verb::new(verb, RolloutId(1), "ann", ""));
        let preview = world.controller.preview(world.now, event.clone());
        let mut copy = world.controller.clone();
        match copy.step(world.now, event) {
            Ok(_) => {
                let after = copy.rollout().map(|rollout| copy.rollout_view(rollout, world.now));
                assert_eq!(preview.unwrap().after, after, "{verb:?}");
            }
            Err(refusal) => assert_eq!(preview, Err(refusal), "{verb:?}"),
        }
    }
    assert_eq!(world.controller, before);
    let back = Event::Verb(Verb::new(VerbKind::Rollback, RolloutId(1), "ann", ""));
    let preview = world.controller.preview(world.now, back).unwrap();
    assert_eq!(preview.moves.len(), 4, "warm blues take over at once: {preview:?}");
    assert!(preview.follows.is_empty() && preview.starts.is_empty() && !preview.blind, "{preview:?}");
}

/// A small generator, so that a failure is told by its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// What is counted here beside the machine, by looking at it after each event.
#[derive(Clone, Debug, Default)]
struct Account {
    /// Bakes that have begun.
    bakes: u32,
    /// Pauses that have begun.
    pauses: u32,
    last: Option<(State, Option<PauseReason>)>,
}

impl Account {
    fn look(&mut self, world: &World) {
        let now = world.controller.rollout().map(|rollout| (rollout.state, rollout.paused.clone()));
        let was = self.last.take();
        let bake = |seen: &Option<(State, _)>| seen.as_ref().map(|(state, _)| *state).filter(|&state| bakes(state));
        self.bakes += u32::from(bake(&now).is_some() && bake(&now) != bake(&was));
        let pause = |seen: &Option<(_, Option<PauseReason>)>| seen.as_ref().and_then(|(_, paused)| paused.clone());
        self.pauses += u32::from(pause(&now).is_some() && pause(&now) != pause(&was));
        self.last = now;
    }
}

fn bakes(state: State) -> bool {
    matches!(state, State::Progressing { step: Step::Baking { .. }, .. })
}

/// What an operator saw, and what the account said then.
#[derive(Clone)]
struct Glance {
    position: Position,
    state: State,
    paused: bool,
    account: Account,
}

fn glance(world: &World, account: &Account) -> Glance {
    let rollout = world.rollout();
    let paused = rollout.paused.is_some();
    Glance { position: rollout.position(), state: rollout.state, paused, account: account.clone() }
}

/// Whatever two operators press while they look at old pictures: a bake ends early only by somebody who saw that bake,
/// a pause is lifted only by somebody who saw that pause, a phase is approved and a rollout committed only by somebody
/// who saw it wait for that; and nothing is done twice.
#[test]
fn operators_with_old_views_never_do_what_they_did_not_mean() {
    const VERBS: [VerbKind; 8] = [
        VerbKind::Promote,
        VerbKind::Promote,
        VerbKind::Promote,
        VerbKind::Pause,
        VerbKind::Resume,
        VerbKind::Approve,
        VerbKind::Retry,
        VerbKind::Commit,
    ];
    let (mut acted, mut moved, mut repeated) = (0, 0, 0);
    for seed in 1..=100 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let mut plan = plan_with(4, Standby::Warm, ThinEvidence::Ask);
        plan.phases[1].approval = Approval::Required;
        let mut world = World::new(4);
        world.start(plan).unwrap();
        world.verdicts.extend((0..6).map(|_| if dice.below(3) == 0 { Verdict::Inconclusive } else { Verdict::Pass }));
        let mut account = Account::default();
        account.look(&world);
        let mut operators = [glance(&world, &account), glance(&world, &account)];
        let mut sent: Vec<Event> = Vec::new();
        for step in 0..600 {
            match dice.below(10) {
                0 => {
                    let who = dice.below(2) as usize;
                    operators[who] = glance(&world, &account);
                }
                1 | 2 => {
                    let who = dice.below(2) as usize;
                    let saw = operators[who].clone();
                    let verb = VERBS[dice.below(8) as usize];
                    let asked = Verb { expect: Some(saw.position), ..Verb::new(verb, RolloutId(1), "ann", "") };
                    let event = under(&format!("{seed}-{step}"), asked);
                    let before = (world.state(), world.rollout().paused.is_some());
                    match world.feed(event.clone()) {
                        Ok(()) => {
                            let after = (world.state(), world.rollout().paused.is_some());
                            let changed = before != after;
                            acted += u32::from(changed);
                            let told = || format!("seed {seed}, step {step}: {verb:?} from {before:?} to {after:?}");
                            match verb {
                                VerbKind::Promote if changed && bakes(before.0) => {
                                    assert!(bakes(saw.state), "{}", told());
                                    assert_eq!(saw.account.bakes, account.bakes, "{}", told());
                                }
                                VerbKind::Promote if changed => assert_eq!(saw.state, before.0, "{}", told()),
                                VerbKind::Resume if before.1 && changed => {
                                    assert!(saw.paused, "{}", told());
                                    assert_eq!(saw.account.pauses, account.pauses, "{}", told());
                                }
                                VerbKind::Approve | VerbKind::Commit => assert_eq!(saw.state, before.0, "{}", told()),
                                _ => {}
                            }
                            sent.push(event);
                        }
                        Err(Refusal::Moved { .. }) => moved += 1,
                        Err(Refusal::NotNow { .. }) => {}
                        Err(other) => panic!("seed {seed}, step {step}: {other}"),
                    }
                }
                3 if !sent.is_empty() => {
                    let event = sent[dice.below(sent.len() as u64) as usize].clone();
                    let (before, journal) = (world.controller.clone(), world.journal.len());
                    assert_eq!(world.feed(event), Err(Refusal::Repeated(RolloutId(1))), "seed {seed}, step {step}");
                    assert_eq!((&world.controller, world.journal.len()), (&before, journal), "seed {seed}");
                    repeated += 1;
                }
                4 if dice.below(4) == 0 => world.crash(),
                5 => drop(world.tick()),
                _ => drop(world.message()),
            }
            account.look(&world);
        }
        assert_eq!(replay(&world.journal), world.controller, "seed {seed}");
        // The faults are over, and whoever is asked looks first.
        for _ in 0..200 {
            match world.state() {
                state if state.is_over() => break,
                State::Progressing { step: Step::AwaitingApproval, .. } => world.verb(VerbKind::Approve).unwrap(),
                State::Progressing { step: Step::Held, .. } => world.verb(VerbKind::Promote).unwrap(),
                State::Completed => world.verb(VerbKind::Commit).unwrap(),
                State::NeedsAttention => world.verb(VerbKind::Retry).unwrap(),
                _ if world.rollout().paused == Some(PauseReason::ThinEvidence) => {
                    world.verb(VerbKind::Promote).unwrap();
                }
                _ if world.rollout().paused.is_some() => world.verb(VerbKind::Resume).unwrap(),
                _ => {}
            }
            for _ in 0..50 {
                if !world.message() && !world.tick() {
                    break;
                }
            }
        }
        assert!(world.state().is_over(), "seed {seed} does not end: {:?}", world.state());
        world.pass(Millis(1));
    }
    // Otherwise nothing was tried.
    assert!(acted > 50 && moved > 50 && repeated > 50, "{acted} {moved} {repeated}");
}
