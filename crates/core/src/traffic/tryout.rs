//! Synthetic tasks: what an instance has to answer before it gets real ones.
//!
//! They are in no line and in no store; they end with the instance or with the process that gave them.

use std::collections::BTreeMap;

use crate::{
    id::InstanceId,
    time::{Millis, Nanos},
};

use super::task::{Granted, TaskId};

/// Between an answer that was not good and the next task.
const PAUSE: Millis = Millis::from_secs(2);
/// Ids of submitters have no such sign.
const MARK: &str = "try-out@";

#[derive(Debug, Default)]
pub(super) struct TryOuts {
    open: BTreeMap<InstanceId, TryOut>,
}

#[derive(Debug)]
struct TryOut {
    number: u32,
    /// When the task that is out was given.
    given: Option<Nanos>,
    not_before: Nanos,
    passed: bool,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// To be told to whoever wanted it tried out.
    Fresh,
    Repeated,
}

fn id(instance: InstanceId, number: u32) -> TaskId {
    TaskId::new(format!("{MARK}{instance}-{number}"))
}

impl TryOuts {
    pub(super) fn is_one(id: &TaskId) -> bool {
        id.as_str().starts_with(MARK)
    }

    /// Asked for twice is asked for once.
    pub(super) fn begin(&mut self, instance: InstanceId) {
        let fresh = TryOut { number: 1, given: None, not_before: Nanos::default(), passed: false };
        self.open.entry(instance).or_insert(fresh);
    }

    pub(super) fn forget(&mut self, instance: InstanceId) {
        self.open.remove(&instance);
    }

    pub(super) fn passed(&self, instance: InstanceId) -> bool {
        self.open.get(&instance).is_some_and(|it| it.passed)
    }

    /// A task for who asks: a new one, or the one that is out to an instance that can hold no other or has had it
    /// for `lease`.
    pub(super) fn next(&mut self, now: Nanos, instance: InstanceId, places: u32, lease: Millis) -> Option<Granted> {
        let it = self.open.get_mut(&instance).filter(|it| !it.passed)?;
        let due = match it.given {
            None => it.not_before <= now,
            Some(given) => places <= 1 || given + lease <= now,
        };
        due.then(|| {
            it.given = Some(now);
            Granted { id: id(instance, it.number), attempt: 1 }
        })
    }

    /// It never reached the instance, and can be given anew.
    pub(super) fn undelivered(&mut self, to: InstanceId, task: &TaskId) {
        if let Some(it) = self.open.get_mut(&to)
            && *task == id(to, it.number)
        {
            it.given = None;
        }
    }

    /// None if this instance was never given such a task.
    pub(super) fn answered(&mut self, now: Nanos, by: InstanceId, task: &TaskId, good: bool) -> Option<Answered> {
        let it = self.open.get_mut(&by)?;
        if *task == id(by, it.number) && it.given.is_some() && !it.passed {
            it.given = None;
            it.passed = good;
            if !good {
                it.number += 1;
                it.not_before = now + PAUSE;
            }
            return Some(Answered::Fresh);
        }
        (1..=it.number).any(|number| *task == id(by, number)).then_some(Answered::Repeated)
    }

    /// When a task comes due for an instance that waits for one.
    pub(super) fn due(&self, now: Nanos, instance: InstanceId) -> Option<Nanos> {
        let it = self.open.get(&instance).filter(|it| !it.passed && it.given.is_none())?;
        Some(it.not_before.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstanceId = InstanceId(1);
    const LEASE: Millis = Millis::from_secs(60);

    fn at(secs: u64) -> Nanos {
        Nanos::default() + Millis::from_secs(100 + secs)
    }

    #[test]
    fn one_good_answer_is_enough() {
        let mut all = TryOuts::default();
        assert_eq!(all.next(at(0), ONE, 1, LEASE), None, "nobody asked for it");
        all.begin(ONE);
        let task = all.next(at(0), ONE, 1, LEASE).unwrap();
        assert!(TryOuts::is_one(&task.id));
        assert_eq!(all.next(at(1), ONE, 1, LEASE), Some(task.clone()), "who asks again gets it again");
        assert_eq!(all.next(at(1), ONE, 3, LEASE), None, "who has room for more gets no more");
        assert_eq!(all.due(at(1), ONE), None, "it is out");
        assert_eq!(all.answered(at(2), ONE, &task.id, true), Some(Answered::Fresh));
        all.begin(ONE);
        assert!(all.passed(ONE));
        assert_eq!(all.due(at(3), ONE), None);
        assert_eq!(all.next(at(3), ONE, 1, LEASE), None);
        assert_eq!(all.answered(at(3), ONE, &task.id, false), Some(Answered::Repeated));
        assert!(all.passed(ONE), "what was said again changes nothing");
    }

    #[test]
    fn after_a_bad_answer_there_is_another_task() {
        let mut all = TryOuts::default();
        all.begin(ONE);
        let first = all.next(at(0), ONE, 3, LEASE).unwrap();
        assert_eq!(all.answered(at(1), ONE, &first.id, false), Some(Answered::Fresh));
        assert_eq!(all.due(at(1), ONE), Some(at(1) + PAUSE));
        assert_eq!(all.next(at(1), ONE, 3, LEASE), None);
        let second = all.next(at(3), ONE, 3, LEASE).unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(all.answered(at(4), ONE, &first.id, true), Some(Answered::Repeated), "that one is over");
        assert!(!all.passed(ONE));
        assert_eq!(all.next(at(62), ONE, 3, LEASE), None);
        assert_eq!(all.next(at(63), ONE, 3, LEASE), Some(second), "it may have been lost on the way");
    }

    #[test]
    fn what_never_arrived_is_given_anew() {
        let mut all = TryOuts::default();
        all.begin(ONE);
        let task = all.next(at(0), ONE, 3, LEASE).unwrap();
        all.undelivered(ONE, &task.id);
        assert_eq!(all.next(at(1), ONE, 3, LEASE), Some(task));
    }

    #[test]
    fn nobody_answers_for_another() {
        let mut all = TryOuts::default();
        all.begin(ONE);
        let task = all.next(at(0), ONE, 1, LEASE).unwrap();
        all.begin(InstanceId(2));
        assert_eq!(all.answered(at(1), InstanceId(2), &task.id, true), None);
        all.forget(ONE);
        assert_eq!(all.answered(at(1), ONE, &task.id, true), None);
    }
}
