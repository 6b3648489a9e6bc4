//! What an instance works on, and when it last showed that it does (R90).
//!
//! Two silences are measured: that of its main loop, and that of each lease. A heartbeat breaks neither.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bellwether_core::{
    time::{Millis, Nanos},
    traffic::{Silence, TaskId},
};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

#[derive(Default)]
pub(crate) struct Work {
    main_loop: Arc<Silence>,
    /// Signs that count for every lease: of model calls that do not say for which task they are.
    unnamed: Arc<Silence>,
    leases: Mutex<Vec<Held>>,
}

struct Held {
    id: TaskId,
    silence: Arc<Silence>,
    /// The lease has ended, however it did.
    over: CancellationToken,
}

/// The signs that one model call gives.
#[derive(Clone)]
pub(crate) struct CallSigns {
    clock: Clock,
    main_loop: Arc<Silence>,
    /// None if the call names a task that the instance does not hold.
    lease: Option<Arc<Silence>>,
}

impl Work {
    /// It has become active: what it did not do before, nobody had asked of it.
    pub(crate) fn began(&self, now: Nanos) {
        self.main_loop.broken(now);
        self.unnamed.broken(now);
    }

    /// Its main loop has shown itself.
    pub(crate) fn sign(&self, now: Nanos) {
        self.main_loop.broken(now);
    }

    /// A sign of its main loop and of whatever it works on.
    pub(crate) fn shown(&self, now: Nanos) {
        self.main_loop.broken(now);
        self.unnamed.broken(now);
    }

    pub(crate) fn lease_began(&self, id: TaskId, now: Nanos) {
        self.leases().push(Held { id, silence: Arc::new(Silence::since(now)), over: CancellationToken::new() });
    }

    pub(crate) fn lease_ended(&self, id: &TaskId) {
        self.leases().retain(|held| {
            if held.id == *id {
                held.over.cancel();
            }
            held.id != *id
        });
    }

    /// Told when the lease ends; none if it has.
    pub(crate) fn over(&self, id: &TaskId) -> Option<CancellationToken> {
        self.leases().iter().find(|held| held.id == *id).map(|held| held.over.clone())
    }

    /// The task that a call of the instance works for: the one it names, if it holds that, else its only one.
    pub(crate) fn task_of_call(&self, named: Option<&str>) -> Option<TaskId> {
        let leases = self.leases();
        match (named, leases.as_slice()) {
            (Some(named), held) => held.iter().find(|held| held.id.as_str() == named).map(|held| held.id.clone()),
            (None, [only]) => Some(only.id.clone()),
            (None, _) => None,
        }
    }

    /// `named`: whether the call names a task, and `task` the one of these that is held.
    pub(crate) fn call(&self, clock: Clock, named: bool, task: Option<&TaskId>) -> CallSigns {
        let lease = match task {
            Some(task) => self.leases().iter().find(|held| held.id == *task).map(|held| held.silence.clone()),
            None if named => None,
            None => Some(self.unnamed.clone()),
        };
        CallSigns { clock, main_loop: self.main_loop.clone(), lease }
    }

    /// Its main loop waits for our answer until the guard is dropped.
    pub(crate) fn asking(&self, clock: Clock) -> Excused {
        CallSigns { clock, main_loop: self.main_loop.clone(), lease: None }.excused()
    }

    /// The longest silence of any lease.
    pub(crate) fn stalled(&self, now: Nanos) -> Millis {
        let unnamed = self.unnamed.lasted(now);
        self.leases().iter().map(|held| held.silence.lasted(now).min(unnamed)).max().unwrap_or_default()
    }

    pub(crate) fn quiet(&self, now: Nanos) -> Millis {
        self.main_loop.lasted(now)
    }

    fn leases(&self) -> MutexGuard<'_, Vec<Held>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallSigns {
    pub(crate) fn sign(&self) {
        let now = self.clock.mono();
        self.silences().for_each(|silence| silence.broken(now));
    }

    /// The call waits in our queue until the guard is dropped.
    pub(crate) fn excused(&self) -> Excused {
        self.silences().for_each(Silence::excuse_begins);
        Excused(self.clone())
    }

    fn silences(&self) -> impl Iterator<Item = &Silence> {
        [Some(&*self.main_loop), self.lease.as_deref()].into_iter().flatten()
    }
}

pub(crate) struct Excused(CallSigns);

impl Drop for Excused {
    fn drop(&mut self) {
        let now = self.0.clock.mono();
        self.0.silences().for_each(|silence| silence.excuse_ends(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(clock: Clock, secs: u64) -> Nanos {
        clock.mono() + Millis::from_secs(secs)
    }

    fn secs(span: Millis) -> u64 {
        (span.0 + 500) / 1000
    }

    /// Holds t1 and t2 since the clock's start.
    fn working() -> (Work, Clock) {
        let (work, clock) = (Work::default(), Clock::start());
        work.began(clock.mono());
        for id in ["t1", "t2"] {
            work.lease_began(TaskId::new(id), clock.mono());
        }
        (work, clock)
    }

    #[test]
    fn the_longest_silence_of_a_lease_counts() {
        let (work, clock) = working();
        work.lease_ended(&TaskId::new("t1"));
        work.lease_began(TaskId::new("t3"), later(clock, 20));
        work.sign(later(clock, 25));
        assert_eq!((secs(work.stalled(later(clock, 30))), secs(work.quiet(later(clock, 30)))), (30, 5));
        work.lease_ended(&TaskId::new("t2"));
        assert_eq!(secs(work.stalled(later(clock, 30))), 10);
        work.lease_ended(&TaskId::new("t3"));
        assert_eq!(work.stalled(later(clock, 30)), Millis::ZERO, "nothing is held");
    }

    #[test]
    fn a_call_that_names_its_task_is_a_sign_of_that_alone() {
        let (work, clock) = working();
        let task = work.task_of_call(Some("t1"));
        let waiting = work.call(clock, true, task.as_ref()).excused();
        assert_eq!(secs(work.stalled(later(clock, 9))), 9, "t2 has no excuse");
        work.lease_ended(&TaskId::new("t2"));
        assert_eq!(work.stalled(later(clock, 9)), Millis::ZERO, "t1 waits for us");
        assert_eq!(work.quiet(later(clock, 9)), Millis::ZERO);
        drop(waiting);
        assert_eq!(secs(work.stalled(later(clock, 9))), 9);
    }

    #[test]
    fn a_call_that_names_none_counts_for_all_and_one_that_names_another_for_none() {
        let (work, clock) = working();
        assert_eq!(work.task_of_call(None), None);
        let foreign = work.call(clock, true, None).excused();
        assert_eq!(secs(work.stalled(later(clock, 9))), 9);
        drop(foreign);
        let _waiting = work.call(clock, false, None).excused();
        assert_eq!(work.stalled(later(clock, 9)), Millis::ZERO);
    }
}
