//! The books: every submission, what was answered, and every accepted completion that was seen.
//!
//! Pure: times are given, counted from the start of the run. A task is open from its accepted submission to
//! its first completion; a completion that is seen before the answer to the submission waits for it.

use std::{collections::BTreeMap, time::Duration};

use bellwether_core::histogram::Histogram;

use super::{
    client::Refusal,
    report::{Account, Latency, Polls, Report, Requests, TaskCounts, WindowReport},
};

const LOST_NAMED_MAX: usize = 20;

pub(crate) struct Ledger {
    name: String,
    /// By number. Kept to the end, because a second completion may come at any time.
    entries: Vec<Entry>,
    requests: Requests,
    tasks: TaskCounts,
    /// Accepted completions by the attempt that they are of.
    attempts: BTreeMap<u32, u64>,
    polls: Polls,
    refusals: BTreeMap<Refusal, u64>,
    unanswered: BTreeMap<Refusal, u64>,
    latency: Histogram,
    /// The last is open.
    windows: Vec<Window>,
}

struct Entry {
    sent: Duration,
    answer: Answer,
    first: Option<First>,
    doubled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Awaited,
    Accepted,
    Refused,
}

/// The first completion of a task.
#[derive(Clone, Copy)]
struct First {
    seen: Duration,
    completed: bool,
    attempt: u32,
}

#[derive(Default)]
struct Window {
    name: String,
    began: Duration,
    ended: Option<Duration>,
    requests: Requests,
    unanswered: u64,
    submitted: u64,
    completed: u64,
    failed: u64,
    latency: Histogram,
}

impl Ledger {
    /// The ids of the run's tasks are `name` and their number.
    pub(crate) fn new(name: &str, first_window: &str) -> Self {
        Self {
            name: name.to_owned(),
            entries: Vec::new(),
            requests: Requests::default(),
            tasks: TaskCounts::default(),
            attempts: BTreeMap::new(),
            polls: Polls::default(),
            refusals: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            latency: Histogram::default(),
            windows: vec![Window { name: first_window.to_owned(), ..Window::default() }],
        }
    }

    /// A submission is made; it gets the number that is returned.
    pub(crate) fn send(&mut self, due: Duration) -> u64 {
        self.requests.total += 1;
        self.window().requests.total += 1;
        self.entries.push(Entry { sent: due, answer: Answer::Awaited, first: None, doubled: false });
        self.entries.len() as u64 - 1
    }

    pub(crate) fn accepted(&mut self, number: u64, now: Duration) {
        let Some(entry) = self.entry(number) else { return };
        entry.answer = Answer::Accepted;
        let closed = entry.first.map(|first| (first, entry.sent));
        self.tasks.submitted += 1;
        self.window().submitted += 1;
        if let Some((first, sent)) = closed {
            self.close(First { seen: first.seen.min(now), ..first }, sent);
        }
    }

    pub(crate) fn refused(&mut self, number: u64, why: Refusal) {
        let Some(entry) = self.entry(number) else { return };
        entry.answer = Answer::Refused;
        let done_all_the_same = entry.first.is_some();
        self.tasks.unacknowledged += u64::from(done_all_the_same);
        self.requests.failed += 1;
        self.window().requests.failed += 1;
        *self.refusals.entry(why).or_default() += 1;
    }

    /// A submission got no answer and is made again.
    pub(crate) fn unanswered(&mut self, why: Refusal) {
        *self.unanswered.entry(why).or_default() += 1;
        self.window().unanswered += 1;
    }

    /// An accepted completion was seen. Those of others are passed over.
    pub(crate) fn completed(&mut self, id: &str, completed: bool, attempt: u64, now: Duration) {
        let Some(number) = self.number(id) else { return };
        let Some(entry) = self.entry(number) else { return };
        if entry.first.is_some() {
            let newly = !std::mem::replace(&mut entry.doubled, true);
            self.tasks.duplicated += u64::from(newly);
            return;
        }
        let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
        let first = First { seen: now, completed, attempt };
        entry.first = Some(first);
        let (answer, sent) = (entry.answer, entry.sent);
        match answer {
            Answer::Awaited => {}
            Answer::Accepted => self.close(first, sent),
            Answer::Refused => self.tasks.unacknowledged += 1,
        }
    }

    pub(crate) fn polled(&mut self, answered: bool) {
        self.polls.total += 1;
        self.polls.failed += u64::from(!answered);
    }

    /// Closes the open window and opens the next.
    pub(crate) fn mark(&mut self, name: &str, now: Duration) {
        self.window().ended = Some(now);
        self.windows.push(Window { name: name.to_owned(), began: now, ..Window::default() });
    }

    /// Accepted tasks without a completion.
    pub(crate) fn open(&self) -> u64 {
        self.tasks.submitted - self.tasks.completed - self.tasks.failed
    }

    pub(crate) fn account(&self, now: Duration) -> Account {
        let window = self.windows.last();
        Account {
            seconds: now.as_secs_f64(),
            requests: self.requests,
            tasks: self.tasks,
            open: self.open(),
            reattempted: self.reattempted(),
            window: window.map(|window| window.name.clone()).unwrap_or_default(),
            latency: window.map(|window| Latency::of(&window.latency)).unwrap_or_default(),
        }
    }

    /// The books as they stand; what is open counts as lost.
    pub(crate) fn report(&self, now: Duration) -> Report {
        let lost = |entry: &Entry| entry.answer == Answer::Accepted && entry.first.is_none();
        let lost = self.entries.iter().enumerate().filter(|(_, entry)| lost(entry)).take(LOST_NAMED_MAX);
        Report {
            name: self.name.clone(),
            seconds: now.as_secs_f64(),
            requests: self.requests,
            tasks: TaskCounts { lost: self.open(), ..self.tasks },
            reattempted: self.reattempted(),
            attempts: self.attempts.clone(),
            latency: Latency::of(&self.latency),
            polls: self.polls,
            refusals: in_words(&self.refusals),
            unanswered: in_words(&self.unanswered),
            lost_ids: lost.map(|(number, _)| format!("{}-{number}", self.name)).collect(),
            windows: self.windows.iter().map(|window| window.report(now)).collect(),
        }
    }

    fn close(&mut self, first: First, sent: Duration) {
        let micros = u64::try_from(first.seen.saturating_sub(sent).as_micros()).unwrap_or(u64::MAX);
        self.latency.record(micros);
        *self.attempts.entry(first.attempt).or_default() += 1;
        let window = self.window();
        window.latency.record(micros);
        if first.completed {
            window.completed += 1;
            self.tasks.completed += 1;
        } else {
            window.failed += 1;
            self.tasks.failed += 1;
        }
    }

    fn reattempted(&self) -> u64 {
        self.attempts.range(2..).map(|(_, tasks)| tasks).sum()
    }

    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(number).ok()?)
    }

    fn number(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.name)?.strip_prefix('-')?.parse().ok()
    }

    fn window(&mut self) -> &mut Window {
        if self.windows.is_empty() {
            self.windows.push(Window::default());
        }
        let last = self.windows.len() - 1;
        &mut self.windows[last]
    }
}

fn in_words(causes: &BTreeMap<Refusal, u64>) -> BTreeMap<String, u64> {
    causes.iter().map(|(why, count)| (why.to_string(), *count)).collect()
}

impl Window {
    fn report(&self, now: Duration) -> WindowReport {
        let Latency { p50_ms, p95_ms, p99_ms } = Latency::of(&self.latency);
        WindowReport {
            name: self.name.clone(),
            seconds: self.ended.unwrap_or(now).saturating_sub(self.began).as_secs_f64(),
            requests: self.requests,
            unanswered: self.unanswered,
            submitted: self.submitted,
            completed: self.completed,
            failed: self.failed,
            p50_ms,
            p95_ms,
            p99_ms,
            latency: self.latency.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn ledger() -> Ledger {
        Ledger::new("run", "baseline")
    }

    #[test]
    fn lost_doubled_failed_and_refused_are_told_apart() {
        let mut ledger = ledger();
        for number in 0..5 {
            assert_eq!(ledger.send(ms(number)), number);
        }
        (0..4).for_each(|number| ledger.accepted(number, ms(10)));
        ledger.refused(4, Refusal::Status(429));
        ledger.completed("run-0", true, 1, ms(20));
        ledger.completed("run-1", true, 2, ms(20));
        (0..2).for_each(|_| ledger.completed("run-1", true, 3, ms(30)));
        ledger.completed("run-2", false, 1, ms(30));
        ledger.completed("other-3", true, 1, ms(30));
        ledger.completed("run-99", true, 1, ms(30));

        let report = ledger.report(ms(40));
        assert_eq!(report.requests, Requests { total: 5, failed: 1 });
        let counts = TaskCounts { submitted: 4, completed: 2, failed: 1, lost: 1, duplicated: 1, unacknowledged: 0 };
        assert_eq!(report.tasks, counts);
        assert_eq!(report.lost_ids, ["run-3"]);
        assert_eq!((report.reattempted, report.attempts), (1, BTreeMap::from([(1, 2), (2, 1)])));
        assert_eq!(report.refusals["status 429"], 1);
    }

    #[test]
    fn a_completion_may_be_seen_before_the_answer() {
        let mut ledger = ledger();
        ledger.send(ms(0));
        ledger.completed("run-0", true, 1, ms(5));
        assert_eq!(ledger.account(ms(5)).tasks.completed, 0);
        ledger.accepted(0, ms(9));
        let report = ledger.report(ms(9));
        assert_eq!((report.tasks.submitted, report.tasks.completed, report.tasks.lost), (1, 1, 0));
        assert!((report.latency.p50_ms.unwrap() / 5.0 - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_task_that_was_done_though_refused_is_not_hidden() {
        let mut ledger = ledger();
        ledger.send(ms(0));
        ledger.send(ms(0));
        ledger.completed("run-0", true, 1, ms(5));
        ledger.refused(0, Refusal::Broken);
        ledger.refused(1, Refusal::TimedOut);
        ledger.completed("run-1", true, 1, ms(5));
        let report = ledger.report(ms(9));
        let counts = TaskCounts { unacknowledged: 2, ..TaskCounts::default() };
        assert_eq!((report.tasks, report.requests.failed), (counts, 2));
    }

    #[test]
    fn windows_count_what_ends_in_them() {
        let mut ledger = ledger();
        ledger.send(ms(0));
        ledger.accepted(0, ms(1));
        ledger.mark("canary", ms(1000));
        ledger.send(ms(1100));
        ledger.accepted(1, ms(1101));
        ledger.completed("run-0", true, 1, ms(1500));
        ledger.completed("run-1", true, 1, ms(1600));
        let report = ledger.report(ms(3000));
        let [baseline, canary] = &report.windows[..] else { panic!("two windows") };
        assert_eq!(
            (baseline.name.as_str(), baseline.seconds, baseline.submitted, baseline.completed),
            ("baseline", 1.0, 1, 0)
        );
        assert_eq!((canary.name.as_str(), canary.seconds, canary.submitted, canary.completed), ("canary", 2.0, 1, 2));
        assert_eq!(baseline.p95_ms, None);
        assert_eq!(report.slower_than("baseline", 1.5), 2, "nothing to compare with");
        assert!((canary.p95_ms.unwrap() / 1500.0 - 1.0).abs() < 0.01);
    }

    #[test]
    fn slower_is_against_the_tail_of_the_named_window() {
        let mut ledger = ledger();
        let took = |ledger: &mut Ledger, millis: u64| {
            let number = ledger.send(ms(0));
            ledger.accepted(number, ms(0));
            ledger.completed(&format!("run-{number}"), true, 1, ms(millis));
        };
        took(&mut ledger, 5000);
        ledger.mark("canary", ms(5000));
        (0..20).for_each(|_| took(&mut ledger, 100));
        ledger.mark("full", ms(6000));
        [90, 140, 160, 900].into_iter().for_each(|millis| took(&mut ledger, millis));
        assert_eq!(ledger.report(ms(7000)).slower_than("canary", 1.5), 2);
    }
}
