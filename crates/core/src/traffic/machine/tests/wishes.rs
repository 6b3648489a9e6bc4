//! What submitters wish for: urgency, delays, deadlines, attempts, an end before the end, another life. And what
//! agents that wait get: an answer as soon as there is one.

use super::*;

fn plain(id: &str) -> Submission {
    Submission::new(TaskId::new(id), Addressee::Agent("a".into()), 0)
}

impl World {
    fn let_in(&mut self, secs: u64, submission: Submission) {
        self.traffic.submit(at(secs), submission, &mut self.changes).unwrap();
    }

    fn given(&mut self, secs: u64, instance: InstanceId) -> Option<String> {
        self.traffic.expire(at(secs), &mut self.changes);
        self.traffic.next(at(secs), instance, Some(9), &mut self.changes).map(|granted| granted.id.to_string())
    }

    fn fails(&mut self, secs: u64, id: &str, for_good: bool) -> Completion {
        let told = Told { report: Report::Failed, attempt: None, for_good };
        self.traffic.complete(at(secs), &TaskId::new(id), BLUE, told, None, &mut self.changes)
    }

    fn wakes(&mut self, secs: u64) -> Vec<(InstanceId, Option<String>)> {
        self.traffic.expire(at(secs), &mut self.changes);
        let answers = self.traffic.wake(at(secs), |_| true, &mut self.changes);
        answers.into_iter().map(|(instance, granted)| (instance, granted.map(|it| it.id.to_string()))).collect()
    }

    fn asks(&mut self, secs: u64, instance: InstanceId) {
        assert_eq!(self.traffic.next(at(secs), instance, None, &mut self.changes), None);
        assert!(self.traffic.hold(at(secs), instance, None, Millis::from_secs(8)));
        // What was stirred before has been looked at.
        assert_eq!(self.wakes(secs), Vec::new());
    }

    fn end_of(&self, id: &str) -> Option<(End, u32)> {
        self.changes.iter().rev().find_map(|change| match change {
            Change::Finished { task, how, .. } if task.id.as_str() == id => Some((*how, task.attempts)),
            _ => None,
        })
    }
}

#[test]
fn the_urgent_goes_first_and_the_patient_is_not_forgotten() {
    let mut w = World::new();
    w.let_in(0, Submission { priority: Priority::Background, ..plain("old") });
    w.let_in(10, plain("normal"));
    w.let_in(11, plain("next"));
    w.let_in(20, Submission { priority: Priority::Critical, ..plain("critical") });
    // A class is a head start of a minute: background has waited longer than two of them.
    w.let_in(121, plain("late"));
    let order: Vec<String> = std::iter::from_fn(|| w.given(121, BLUE)).collect();
    assert_eq!(order, ["critical", "normal", "next", "old", "late"]);
}

#[test]
fn a_delayed_task_is_not_there_before_its_time() {
    let mut w = World::new();
    w.let_in(0, Submission { delay: Millis::from_secs(30), ..plain("later") });
    assert_eq!((w.traffic.delayed(), w.traffic.queued()), (1, 0));
    assert_eq!(w.given(29, BLUE), None);
    assert_eq!(w.traffic.next_timeout(), Some(at(30).mono));
    assert_eq!(w.given(30, BLUE).as_deref(), Some("later"));
}

#[test]
fn what_was_not_begun_in_time_ends_and_what_was_begun_may_finish() {
    let mut w = World::new();
    for id in ["begun", "not begun"] {
        w.let_in(0, Submission { begin_within: Some(Millis::from_secs(10)), ..plain(id) });
    }
    assert_eq!(w.given(9, BLUE).as_deref(), Some("begun"));
    assert_eq!(w.given(10, BLUE), None);
    assert_eq!(w.end_of("not begun"), Some((End::Expired, 0)));
    let told = Report::Completed { empty: false };
    let done = w.traffic.complete(at(50), &TaskId::new("begun"), BLUE, told, None, &mut w.changes);
    assert!(matches!(done, Completion::Accepted { .. }));
}

#[test]
fn a_failure_is_tried_again_after_a_wait_that_doubles() {
    let mut w = World::new();
    w.let_in(0, Submission { attempts_max: Some(4), ..plain("t") });
    let mut waits = Vec::new();
    for _ in 0..3 {
        let now = 1_000 * (waits.len() as u64 + 1);
        assert_eq!(w.given(now, BLUE).as_deref(), Some("t"));
        assert_eq!(w.fails(now, "t", false), Completion::Retried);
        assert_eq!(w.fails(now, "t", false), Completion::Repeated, "said again");
        waits.push(w.traffic.next_timeout().unwrap().since(at(now).mono).0);
    }
    let of_first = |factor: u64| (750 * factor)..=(1000 * factor);
    assert!(of_first(1).contains(&waits[0]) && of_first(2).contains(&waits[1]), "{waits:?}");
    assert!(of_first(4).contains(&waits[2]), "{waits:?}");
    assert_eq!(w.given(9_000, BLUE).as_deref(), Some("t"));
    assert!(matches!(w.fails(9_000, "t", false), Completion::Accepted { .. }));
    assert_eq!(w.end_of("t"), Some((End::Failed, 4)));
}

#[test]
fn what_failed_together_comes_back_spread_over_a_quarter_of_the_wait() {
    let agents = vec![("a".into(), "worker".into())];
    let mut traffic = Traffic::new(TaskPolicy { backoff: Millis::from_secs(8), ..policy() }, agents);
    let mut changes = Vec::new();
    traffic.enrol(vec![card(1, "a", "worker", Side::Blue)], &mut changes).unwrap();
    traffic.cut_over(at(0), Generation(1), &[to("a", 1, None)], Millis::ZERO, false, &mut changes).unwrap();
    let mut waits = Vec::new();
    for n in 0..50 {
        traffic.submit(at(0), plain(&n.to_string()), &mut changes).unwrap();
        let id = traffic.next(at(0), BLUE, Some(1), &mut changes).unwrap().id;
        assert_eq!(traffic.complete(at(0), &id, BLUE, Report::Failed, None, &mut changes), Completion::Retried);
        let State::Delayed { due, .. } = traffic.task(&id).unwrap().state else { panic!("{id} is not put off") };
        waits.push(due.since(at(0).mono).0);
    }
    waits.sort_unstable();
    assert!(waits[0] >= 6_000 && waits[0] < 6_200, "{waits:?}");
    assert!(waits[49] <= 8_000 && waits[49] > 7_800, "{waits:?}");
}

#[test]
fn a_failure_is_tried_again_where_that_can_begin_in_time() {
    // The wait of the first task of a queue.
    let mut w = World::new();
    w.let_in(0, plain("t"));
    w.given(0, BLUE);
    assert_eq!(w.fails(0, "t", false), Completion::Retried);
    let wait = w.traffic.next_timeout().unwrap().since(at(0).mono);
    for (within, expected) in [(wait, Completion::Accepted { seq: 1 }), (wait + Millis(1), Completion::Retried)] {
        let mut w = World::new();
        w.let_in(0, Submission { begin_within: Some(within), ..plain("t") });
        w.given(0, BLUE);
        assert_eq!(w.fails(0, "t", false), expected, "{within} for a wait of {wait}");
    }
}

#[test]
fn a_failure_for_good_is_not_tried_again_and_neither_is_one_whose_time_is_over() {
    let mut w = World::new();
    w.let_in(0, plain("for good"));
    w.let_in(0, Submission { begin_within: Some(Millis::from_secs(5)), ..plain("too late") });
    for id in ["for good", "too late"] {
        assert_eq!(w.given(4, BLUE).as_deref(), Some(id));
    }
    assert!(matches!(w.fails(4, "for good", true), Completion::Accepted { .. }));
    assert!(matches!(w.fails(6, "too late", false), Completion::Accepted { .. }));
    assert_eq!(w.end_of("too late"), Some((End::Failed, 1)));
}

#[test]
fn a_result_that_carries_nothing_is_a_failure_like_any_other() {
    let mut w = World::new();
    w.let_in(0, Submission { attempts_max: Some(2), ..plain("t") });
    let says_nothing = |w: &mut World, secs| {
        assert_eq!(w.given(secs, BLUE).as_deref(), Some("t"));
        w.traffic.complete(at(secs), &TaskId::new("t"), BLUE, Report::Completed { empty: true }, None, &mut w.changes)
    };
    assert_eq!(says_nothing(&mut w, 0), Completion::Retried);
    assert!(matches!(says_nothing(&mut w, 60), Completion::Accepted { .. }));
    assert_eq!(w.end_of("t"), Some((End::Failed, 2)));
}

#[test]
fn a_stale_report_changes_nothing() {
    let mut w = World::new();
    w.let_in(0, plain("t"));
    w.given(0, BLUE);
    assert_eq!(w.fails(0, "t", false), Completion::Retried);
    w.given(60, BLUE);
    let told = |attempt| Told { report: Report::Completed { empty: false }, attempt: Some(attempt), for_good: false };
    let mut says = |attempt, by| w.traffic.complete(at(60), &TaskId::new("t"), by, told(attempt), None, &mut w.changes);
    assert_eq!(says(1, BLUE), Completion::Repeated, "that attempt was reported");
    assert_eq!(says(3, BLUE), Completion::Conflict);
    assert_eq!(says(2, GREEN), Completion::Conflict);
    assert!(matches!(says(2, BLUE), Completion::Accepted { .. }));
}

#[test]
fn what_is_cancelled_ends_at_once_and_its_holder_hears_of_it() {
    let mut w = World::new();
    w.let_in(0, plain("held"));
    w.given(0, BLUE);
    w.let_in(0, plain("waiting"));
    w.let_in(0, Submission { delay: Millis::from_secs(9), ..plain("delayed") });
    for id in ["held", "waiting", "delayed"] {
        assert!(w.traffic.cancel(at(1), &TaskId::new(id), &mut w.changes));
        assert_eq!(w.end_of(id).map(|(how, _)| how), Some(End::Cancelled));
        assert!(!w.traffic.cancel(at(1), &TaskId::new(id), &mut w.changes), "it has ended");
    }
    assert_eq!(w.traffic.tasks().count(), 0);
    let late = Archived { completed_by: None };
    let told = Report::Completed { empty: false };
    let said = w.traffic.complete(at(2), &TaskId::new("held"), BLUE, told, Some(late), &mut w.changes);
    assert_eq!(said, Completion::Conflict);
}

#[test]
fn a_dead_letter_can_live_again_with_its_attempts_anew() {
    let mut w = World::new();
    w.let_in(0, Submission { priority: Priority::High, ..plain("t") });
    w.given(0, BLUE);
    w.fails(0, "t", true);
    let Some(Change::Finished { task, .. }) = w.changes.pop() else { panic!("it has ended") };
    assert_eq!(w.traffic.revive(at(5), task.clone(), &mut w.changes), Ok(Submitted::Queued { agent: "a".into() }));
    assert_eq!(w.traffic.revive(at(5), task.clone(), &mut w.changes), Ok(Submitted::Known { agent: "a".into() }));
    let again = w.traffic.task(&task.id).unwrap();
    assert_eq!((again.attempts, again.attempts_max, again.priority), (1, 1 + policy().attempts_max, Priority::High));
    let gone = Task { agent: "gone".into(), id: TaskId::new("u"), ..task };
    assert_eq!(w.traffic.revive(at(5), gone, &mut w.changes), Err(Refusal::NoAgent("gone".into())));
}

#[test]
fn who_waits_gets_a_task_as_soon_as_there_is_one() {
    let mut w = World::new();
    w.asks(0, BLUE);
    w.let_in(3, plain("t"));
    assert_eq!(w.wakes(3), [(BLUE, Some("t".to_owned()))]);
    assert_eq!(w.wakes(3), [], "and no second answer");
    assert_eq!(w.traffic.held_by(BLUE), [TaskId::new("t")]);
}

#[test]
fn nobody_waits_for_ever_or_after_its_relief() {
    let mut w = World::new();
    w.asks(0, BLUE);
    assert_eq!(w.traffic.next_timeout(), Some(at(8).mono));
    assert_eq!((w.wakes(7), w.wakes(8)), (vec![], vec![(BLUE, None)]));
    w.asks(10, BLUE);
    w.asks(10, GREEN);
    w.let_in(10, Submission { delay: Millis::from_secs(1), ..plain("t") });
    w.cut(11, 2, &[to("a", 2, None)]).unwrap();
    assert_eq!(w.wakes(11), [(GREEN, Some("t".to_owned())), (BLUE, None)], "in one go, to the heir");
}

#[test]
fn an_heir_that_waits_gets_what_is_queued_already() {
    let mut w = World::new();
    w.let_in(0, plain("t"));
    w.asks(0, GREEN);
    w.cut(1, 2, &[to("a", 2, None)]).unwrap();
    assert_eq!(w.wakes(1), [(GREEN, Some("t".to_owned()))]);
}

#[test]
fn who_leaves_is_answered_and_what_it_holds_is_queued_again_at_nobodys_cost() {
    let mut w = World::new();
    w.traffic.set_places(BLUE, 2, &mut w.changes);
    w.let_in(0, plain("t"));
    assert_eq!(w.next(0, BLUE), granted("t", 1));
    w.asks(1, BLUE);
    w.traffic.leave(at(2), BLUE, &mut w.changes);
    assert_eq!(w.wakes(2), [(BLUE, None)], "it gets nothing more");
    let task = w.traffic.task(&TaskId::new("t")).unwrap();
    assert_eq!((w.traffic.leased(), task.attempts, task.counted()), (0, 1, 0));
}

#[test]
fn one_who_has_gone_gets_nothing() {
    let mut w = World::new();
    w.asks(0, BLUE);
    w.let_in(1, plain("t"));
    assert_eq!(w.traffic.wake(at(1), |_| false, &mut w.changes), []);
    assert_eq!(w.traffic.queued(), 1);
    let granted = w.traffic.next(at(2), BLUE, None, &mut w.changes).unwrap();
    w.traffic.undelivered(at(2), BLUE, &granted, &mut w.changes);
    let again = w.traffic.next(at(3), BLUE, None, &mut w.changes).unwrap();
    assert_eq!(w.traffic.task(&again.id).unwrap().counted(), 1, "what did not arrive is no attempt");
    w.traffic.undelivered(at(3), BLUE, &granted, &mut w.changes);
    assert_eq!(w.traffic.held_by(BLUE).len(), 1, "that was the attempt before");
}

#[test]
fn an_idle_agent_that_waits_takes_over_what_waits_too_long() {
    let mut w = World::new();
    w.asks(0, OTHER);
    let to_type = Submission::new(TaskId::new("t"), Addressee::Type("worker".into()), 0);
    w.let_in(0, to_type);
    w.traffic.hold(at(0), OTHER, None, Millis::from_secs(60));
    assert_eq!(w.wakes(19), []);
    assert_eq!(w.traffic.next_timeout(), Some(at(20).mono));
    assert_eq!(w.wakes(20), [(OTHER, Some("t".to_owned()))]);
}

#[test]
fn a_green_in_standby_is_tried_out_while_blue_works() {
    let mut w = World::new();
    w.asks(0, GREEN);
    w.let_in(0, plain("real"));
    assert_eq!(w.traffic.try_out(GREEN), Ok(false));
    let answers = w.wakes(1);
    let [(GREEN, Some(id))] = answers.as_slice() else { panic!("{answers:?}") };
    let id = TaskId::new(id.as_str());
    assert!(Traffic::is_try_out(&id) && w.traffic.task(&id).is_none());
    assert!(!Traffic::is_try_out(&TaskId::new("real")));
    let bad = Report::Completed { empty: true };
    assert_eq!(w.traffic.complete(at(2), &id, GREEN, bad, None, &mut w.changes), Completion::TriedOut);
    assert!(!w.traffic.tried_out(GREEN));
    w.asks(2, GREEN);
    let pause = w.traffic.next_timeout().unwrap();
    assert!(pause > at(2).mono && pause < at(8).mono);
    let answers = w.wakes(5);
    let [(GREEN, Some(second))] = answers.as_slice() else { panic!("{answers:?}") };
    let good = Report::Completed { empty: false };
    let second = TaskId::new(second.as_str());
    assert_eq!(w.traffic.complete(at(6), &second, GREEN, good, None, &mut w.changes), Completion::TriedOut);
    assert!(w.traffic.tried_out(GREEN));
    assert_eq!(w.traffic.try_out(GREEN), Ok(true));
    assert_eq!(w.given(7, BLUE).as_deref(), Some("real"));
    let nobody = InstanceId(99);
    assert_eq!(w.traffic.try_out(nobody), Err(Refusal::Unknown(nobody)));
}

#[test]
fn a_full_queue_says_how_long_it_takes() {
    let mut w = World::new();
    let submit = |w: &mut World, n: u64, bytes| {
        let submission = Submission { bytes, ..plain(&n.to_string()) };
        w.traffic.submit(at(n), submission, &mut w.changes)
    };
    for n in 0..100 {
        submit(&mut w, n, 1).unwrap();
    }
    for n in 0..10 {
        w.given(100 + 3 * n, BLUE);
        w.traffic.cancel(at(100 + 3 * n), &TaskId::new(n.to_string()), &mut w.changes);
        submit(&mut w, 200 + n, 1).unwrap();
    }
    // Ten ended in thirty seconds.
    let refused = w.traffic.submit(at(130), plain("more"), &mut w.changes);
    assert_eq!(refused, Err(Refusal::Full { retry_after: Millis::from_secs(3) }));
}

#[test]
fn heavy_bodies_fill_the_queue_too() {
    let agents = vec![("a".into(), "worker".into())];
    let mut traffic = Traffic::new(TaskPolicy { waiting_bytes_max: 100, ..policy() }, agents);
    let mut submit =
        |id: &str, bytes| traffic.submit(at(0), Submission { bytes, ..plain(id) }, &mut Vec::new()).map(|_| ());
    assert_eq!(submit("larger than all", 500), Ok(()), "what comes alone gets in");
    assert!(matches!(submit("one more", 1), Err(Refusal::Full { .. })));
    assert!(traffic.cancel(at(0), &TaskId::new("larger than all"), &mut Vec::new()));
    let mut submit =
        |id: &str, bytes| traffic.submit(at(0), Submission { bytes, ..plain(id) }, &mut Vec::new()).map(|_| ());
    assert_eq!((submit("most", 60), submit("the rest", 40)), (Ok(()), Ok(())), "just full");
    assert!(matches!(submit("one more", 1), Err(Refusal::Full { .. })));
}

#[test]
fn who_finds_a_large_queue_full_is_told_to_wait_for_a_hundredth_of_it() {
    let agents = vec![("a".into(), "worker".into())];
    let mut traffic = Traffic::new(TaskPolicy { waiting_max: 250, ..policy() }, agents);
    let mut changes = Vec::new();
    let mut ended = 0;
    for n in 0..260 {
        if n >= 250 {
            // One each three seconds.
            assert!(traffic.cancel(at(3 * ended), &TaskId::new(ended.to_string()), &mut changes));
            ended += 1;
        }
        traffic.submit(at(3 * ended), plain(&n.to_string()), &mut changes).unwrap();
    }
    let refused = traffic.submit(at(3 * ended), plain("more"), &mut changes);
    assert_eq!(refused, Err(Refusal::Full { retry_after: Millis::from_secs(6) }));
}

#[test]
fn a_task_that_comes_with_the_question_is_the_askers() {
    let mut w = World::new();
    let id = TaskId::new("theirs");
    let granted = w.traffic.take_in(at(0), BLUE, id.clone(), 5, &mut w.changes).unwrap();
    assert_eq!((granted.attempt, w.traffic.held_by(BLUE)), (1, [id.clone()].as_slice()));
    assert_eq!(w.traffic.take_in(at(0), BLUE, id, 5, &mut w.changes), None, "it is here already");
    assert_eq!(w.traffic.take_in(at(0), GREEN, TaskId::new("u"), 5, &mut w.changes), None, "green is not active");
    assert_eq!(w.traffic.tasks().count(), 1);
}

#[test]
fn a_word_of_progress_renews_and_only_the_holders() {
    let mut w = World::new();
    w.let_in(0, plain("t"));
    w.given(0, BLUE);
    let id = TaskId::new("t");
    assert_eq!(w.traffic.progress(at(50), &id, BLUE, Some(1), true, &mut w.changes), Progress::Renewed);
    assert!(matches!(w.changes.last(), Some(Change::Checkpoint { .. })));
    let stored = w.changes.len();
    assert_eq!(w.traffic.progress(at(50), &id, BLUE, None, false, &mut w.changes), Progress::Renewed);
    assert_eq!(w.traffic.next_timeout(), Some(at(110).mono));
    assert_eq!(w.traffic.progress(at(50), &id, BLUE, Some(2), true, &mut w.changes), Progress::Conflict);
    assert_eq!(w.traffic.progress(at(50), &id, OTHER, None, true, &mut w.changes), Progress::Conflict);
    let other = TaskId::new("x");
    assert_eq!(w.traffic.progress(at(50), &other, BLUE, None, false, &mut w.changes), Progress::Unknown);
    assert_eq!(w.changes.len(), stored, "only the holder's checkpoint is one");
}
