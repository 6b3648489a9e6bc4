//! Calls of the process before this one.

use super::*;

fn of(agent: &str) -> Ask {
    ask(agent, "m")
}

const SERVER: ServerId = ServerId(0);

fn grants(scheduler: &mut Scheduler) -> Vec<CallId> {
    std::iter::from_fn(|| scheduler.poll())
        .map(|command| match command {
            Command::Grant { call, .. } => call,
            Command::Load { runner, .. } => panic!("{} was loaded", runner.model),
        })
        .collect()
}

#[test]
fn an_adopted_call_takes_a_slot_until_it_ends_and_its_model_need_not_be_loaded() {
    let mut scheduler = Scheduler::new(limits(2));
    scheduler.adopt(ms(0), CallId(100), of("old"), SERVER);
    for id in 1..=3 {
        scheduler.enqueue(ms(1), CallId(id), of("new")).unwrap();
    }
    assert_eq!(grants(&mut scheduler), [CallId(1)], "one slot is taken");
    assert_eq!(scheduler.slots_busy(), 2);
    scheduler.finished(ms(2), CallId(100));
    assert_eq!(grants(&mut scheduler), [CallId(2)]);
}

#[test]
fn an_adopted_call_holds_up_the_switch_to_another_model() {
    let mut scheduler = Scheduler::new(limits(2));
    scheduler.adopt(ms(0), CallId(100), of("old"), SERVER);
    scheduler.enqueue(ms(1), CallId(1), ask("new", "other")).unwrap();
    assert_eq!(scheduler.poll(), None);
    scheduler.finished(ms(2), CallId(100));
    assert_eq!(scheduler.poll(), Some(Command::Load { server: SERVER, runner: runner("other"), embeds: false }));
}

#[test]
fn an_adopted_call_is_charged_to_its_agent() {
    let mut scheduler = Scheduler::new(limits(2));
    scheduler.adopt(ms(0), CallId(100), of("old"), SERVER);
    for (id, agent) in [(1, "new"), (2, "old"), (3, "new")] {
        scheduler.enqueue(ms(400), CallId(id), of(agent)).unwrap();
    }
    assert_eq!(grants(&mut scheduler), [CallId(1)]);
    scheduler.finished(ms(410), CallId(1));
    assert_eq!(grants(&mut scheduler), [CallId(3)], "the one that holds a slot since before has used more");
}

#[test]
fn more_than_slots_are_never_added_to() {
    let mut scheduler = Scheduler::new(limits(1));
    for id in [100, 101] {
        scheduler.adopt(ms(0), CallId(id), of("old"), SERVER);
    }
    scheduler.enqueue(ms(1), CallId(1), of("new")).unwrap();
    scheduler.finished(ms(2), CallId(100));
    assert_eq!(grants(&mut scheduler), [], "the fleet file allows fewer than before");
    scheduler.finished(ms(3), CallId(101));
    assert_eq!(grants(&mut scheduler), [CallId(1)]);
}

#[test]
fn one_that_is_closed_hands_back_what_waits_and_grants_nothing() {
    let mut scheduler = Scheduler::new(limits(1));
    scheduler.assume(ms(0), SERVER, runner("m"));
    for id in 1..=3 {
        scheduler.enqueue(ms(0), CallId(id), of("a")).unwrap();
    }
    assert_eq!(grants(&mut scheduler), [CallId(1)]);
    assert_eq!(scheduler.close(ms(1)), [CallId(2), CallId(3)]);
    assert_eq!(scheduler.in_flight().map(|held| held.call).collect::<Vec<_>>(), [CallId(1)]);
    scheduler.finished(ms(2), CallId(1));
    assert_eq!((grants(&mut scheduler).len(), scheduler.slots_busy(), scheduler.calls_waiting()), (0, 0, 0));
    assert_eq!(scheduler.resident(SERVER), Some(&runner("m")));
}

#[test]
fn one_that_is_closed_grants_nothing_to_whoever_comes_and_to_nobody_whose_turn_it_would_be() {
    let mut scheduler = Scheduler::new(Limits { quantum: Millis(0), ..limits(2) });
    scheduler.assume(ms(0), SERVER, runner("m"));
    let mut ask = |id, model| scheduler.enqueue(ms(0), CallId(id), ask("a", model)).unwrap();
    ask(1, "m");
    ask(2, "other");
    ask(3, "m");
    ask(4, "m");
    // A slot is free, and is kept free for the switch that the second call waits for.
    assert_eq!(grants(&mut scheduler), [CallId(1)]);
    assert_eq!(scheduler.close(ms(2)), [CallId(2), CallId(3), CallId(4)]);
    scheduler.enqueue(ms(3), CallId(5), of("a")).unwrap();
    assert_eq!((scheduler.poll(), scheduler.slots_busy()), (None, 1));
}
