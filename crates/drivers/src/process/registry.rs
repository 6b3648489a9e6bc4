//! Who exists, and which decision about each was the last. Nothing here waits or touches a process.

use std::collections::BTreeMap;

use bellwether_core::{
    id::{Generation, InstanceId},
    port::driver::{DriverAnswer, Launch, Observed},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    instance::{Ask, Order},
    record::{Floor, Record},
};

/// Commands to one instance that may wait while it is being started.
const INBOX_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Registry {
    live: BTreeMap<InstanceId, Entry>,
    ended: BTreeMap<InstanceId, Ended>,
    /// Of those that ended so long ago that they are not remembered one by one.
    floor: Floor,
}

struct Ended {
    generation: Generation,
    /// It was told to end.
    asked: bool,
}

/// An instance whose process is being started or runs.
struct Entry {
    generation: Generation,
    hand: mpsc::Sender<Order>,
    running: Option<Seen>,
}

/// A running instance, as its task last told.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) observed: Observed,
    /// The limit that nobody else enforces.
    pub(super) watch_bytes: Option<u64>,
}

/// What becomes of an order.
pub(super) enum Way {
    Answer(DriverAnswer),
    /// The instance's task has it and will answer.
    Handed,
    Begin {
        launch: Box<Launch>,
        tell: oneshot::Sender<DriverAnswer>,
        inbox: mpsc::Receiver<Order>,
    },
}

impl Registry {
    pub(super) fn way(&mut self, instance: InstanceId, order: Order) -> Way {
        let generation = order.generation.unwrap_or_default();
        if let Some(entry) = self.live.get_mut(&instance) {
            if generation < entry.generation {
                return Way::Answer(DriverAnswer::Stale { seen: entry.generation });
            }
            entry.generation = generation;
            if let Some(Seen { observed, .. }) = &mut entry.running {
                observed.generation = generation;
            }
            return match entry.hand.try_send(order) {
                Ok(()) => Way::Handed,
                Err(mpsc::error::TrySendError::Full(_)) => Way::Answer(DriverAnswer::Failed {
                    reason: format!("{INBOX_MAX} commands to instance {instance} wait already"),
                }),
                Err(mpsc::error::TrySendError::Closed(_)) => Way::Answer(DriverAnswer::Unknown),
            };
        }
        if let Some(seen) = self.ended.get_mut(&instance) {
            if generation < seen.generation {
                return Way::Answer(DriverAnswer::Stale { seen: seen.generation });
            }
            seen.generation = generation;
            let started = matches!(order.ask, Ask::Start { .. });
            return Way::Answer(if started { DriverAnswer::Taken } else { DriverAnswer::Unknown });
        }
        if instance <= self.floor.instance {
            if generation < self.floor.generation {
                return Way::Answer(DriverAnswer::Stale { seen: self.floor.generation });
            }
            let started = matches!(order.ask, Ask::Start { .. });
            return Way::Answer(if started { DriverAnswer::Taken } else { DriverAnswer::Unknown });
        }
        match order.ask {
            Ask::Start { launch } => {
                Way::Begin { launch, tell: order.tell, inbox: self.enter(instance, generation, None) }
            }
            Ask::Stop { .. } | Ask::Freeze | Ask::Thaw | Ask::EndForMemory => Way::Answer(DriverAnswer::Unknown),
        }
    }

    /// Hands on an order of the driver's own. One that is full of commands is asked again at the next beat.
    pub(super) fn urge(&self, instance: InstanceId, order: Order) {
        if let Some(entry) = self.live.get(&instance)
            && entry.hand.try_send(order).is_err()
        {
            tracing::warn!(%instance, "the instance does not take an order of the driver's own");
        }
    }

    pub(super) fn adopt(&mut self, record: &Record) -> mpsc::Receiver<Order> {
        self.enter(record.instance, record.generation, None)
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Seen> {
        self.live.values().filter_map(|entry| entry.running.as_ref())
    }

    /// All that have not ended, those being started too.
    pub(super) fn instances(&self) -> impl Iterator<Item = InstanceId> {
        self.live.keys().copied()
    }

    pub(super) fn see(&mut self, seen: Seen) {
        if let Some(entry) = self.live.get_mut(&seen.observed.instance) {
            let generation = entry.generation;
            let seen = entry.running.insert(seen);
            seen.observed.generation = generation;
        }
    }

    pub(super) fn set_frozen(&mut self, instance: InstanceId, frozen: bool) {
        if let Some(seen) = self.live.get_mut(&instance).and_then(|entry| entry.running.as_mut()) {
            seen.observed.frozen = frozen;
        }
    }

    pub(super) fn ended(&mut self, instance: InstanceId, generation: Generation, asked: bool) {
        let generation = self.live.remove(&instance).map_or(generation, |entry| entry.generation.max(generation));
        self.ended.insert(instance, Ended { generation, asked });
    }

    /// Whether its end was asked for, if it has ended.
    pub(super) fn end_was_asked(&self, instance: InstanceId) -> Option<bool> {
        self.ended.get(&instance).map(|ended| ended.asked)
    }

    pub(super) fn stand_on(&mut self, floor: Floor) {
        self.floor = floor;
    }

    /// Lets go of the oldest of more than so many that have ended, and says which.
    pub(super) fn trim(&mut self, kept: usize) -> (Floor, Vec<InstanceId>) {
        let mut gone = Vec::new();
        while self.ended.len() > kept
            && let Some((instance, ended)) = self.ended.pop_first()
        {
            self.floor.raise(instance, ended.generation);
            gone.push(instance);
        }
        (self.floor, gone)
    }

    /// It never ran: its number is free for another attempt.
    pub(super) fn forget(&mut self, instance: InstanceId) {
        self.live.remove(&instance);
    }

    fn enter(&mut self, instance: InstanceId, generation: Generation, running: Option<Seen>) -> mpsc::Receiver<Order> {
        let (hand, inbox) = mpsc::channel(INBOX_MAX);
        self.live.insert(instance, Entry { generation, hand, running });
        inbox
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(registry: &mut Registry, instance: u64, generation: u64, ask: Ask) -> DriverAnswer {
        let (tell, _told) = oneshot::channel();
        let order = Order { generation: Some(Generation(generation)), ask, tell };
        match registry.way(InstanceId(instance), order) {
            Way::Answer(answer) => answer,
            Way::Handed | Way::Begin { .. } => panic!("it would run"),
        }
    }

    #[test]
    fn a_number_that_was_let_go_of_is_not_started_again_and_refuses_old_decisions() {
        let mut registry = Registry::default();
        for n in 1..=5 {
            registry.ended(InstanceId(n), Generation(10 + n), false);
        }
        let (floor, gone) = registry.trim(2);
        assert_eq!(gone, [1, 2, 3].map(InstanceId));
        assert_eq!(floor, Floor { instance: InstanceId(3), generation: Generation(13) });
        let stop = || Ask::Stop { grace: bellwether_core::time::Millis(1) };
        assert_eq!(ask(&mut registry, 1, 13, stop()), DriverAnswer::Unknown);
        assert_eq!(ask(&mut registry, 1, 12, stop()), DriverAnswer::Stale { seen: Generation(13) });
        assert_eq!(ask(&mut registry, 4, 13, stop()), DriverAnswer::Stale { seen: Generation(14) });
        assert_eq!(registry.trim(2), (floor, Vec::new()));
    }
}
