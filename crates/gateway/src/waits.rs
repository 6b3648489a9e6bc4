//! Time that model calls spent waiting for a slot or for a model to load, which no revision is to blame for.
//!
//! Kept per task from its model calls to the end of its lease. Bounded by the leases, because a call is
//! charged to a task only where its instance holds that task.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bellwether_core::{id::InstanceId, port::heir::Waited};

use crate::caller::Caller;

#[derive(Default)]
pub(crate) struct Waits {
    micros: Mutex<HashMap<(InstanceId, String), u64>>,
}

impl Waits {
    pub(crate) fn add(&self, caller: &Caller, micros: u64) {
        if let (Some(instance), Some(task)) = (caller.instance, &caller.task) {
            let mut all = self.micros.lock().unwrap_or_else(PoisonError::into_inner);
            *all.entry((instance, task.clone())).or_default() += micros;
        }
    }

    /// What another gateway saw.
    pub(crate) fn put(&self, waits: &[Waited]) {
        let mut all = self.micros.lock().unwrap_or_else(PoisonError::into_inner);
        for Waited { instance, task, micros } in waits {
            *all.entry((*instance, task.clone())).or_default() += micros;
        }
    }

    /// Everything, for another gateway. Forgets it.
    pub(crate) fn drain(&self) -> Vec<Waited> {
        let all = std::mem::take(&mut *self.micros.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_iter().map(|((instance, task), micros)| Waited { instance, task, micros }).collect()
    }

    /// What the task waited while this instance held it. Forgets it.
    pub(crate) fn take(&self, task: &str, instance: InstanceId) -> u64 {
        let mut all = self.micros.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(instance, task.to_owned())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use bellwether_core::id::Side;

    use super::*;

    fn caller(instance: Option<u64>, task: Option<&str>) -> Caller {
        Caller {
            agent: "a".into(),
            instance: instance.map(InstanceId),
            side: Side::Blue,
            task: task.map(str::to_owned),
            signs: None,
            hold: None,
        }
    }

    #[test]
    fn waits_add_up_per_task_and_holder_and_are_taken_once() {
        let waits = Waits::default();
        waits.add(&caller(Some(1), Some("t")), 5);
        waits.add(&caller(Some(1), Some("t")), 7);
        waits.add(&caller(Some(2), Some("t")), 100);
        waits.add(&caller(Some(1), None), 1000);
        waits.add(&caller(None, Some("t")), 1000);
        assert_eq!(waits.take("t", InstanceId(1)), 12);
        assert_eq!(waits.take("t", InstanceId(1)), 0);
        assert_eq!(waits.take("t", InstanceId(2)), 100);
    }
}
