//! Counts what ends, second by second. See [`bellwether_core::observation`].

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use bellwether_core::{
    id::{AgentName, ModelName, Side},
    observation::{Calls, Cell, Pushes, Second, Signs, Tasks},
    time::UnixMillis,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) agent: AgentName,
    pub(crate) model: ModelName,
    pub(crate) drawn: Side,
    pub(crate) served: Side,
}

/// Gauges read when a second closes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) slots_busy: u32,
    pub(crate) slots_peak: u32,
    pub(crate) calls_waiting: u32,
    pub(crate) tasks_queued: u64,
    pub(crate) model_switches: u32,
}

/// The second that is open. One short critical section per outcome.
#[derive(Default)]
pub(crate) struct Recorder {
    open: Mutex<HashMap<Key, Cell>>,
}

impl Recorder {
    pub(crate) fn tasks(&self, key: &Key, count: impl FnOnce(&mut Tasks)) {
        self.cell(key, |cell| count(&mut cell.tasks));
    }

    pub(crate) fn calls(&self, key: &Key, count: impl FnOnce(&mut Calls)) {
        self.cell(key, |cell| count(&mut cell.calls));
    }

    pub(crate) fn pushes(&self, key: &Key, count: impl FnOnce(&mut Pushes)) {
        self.cell(key, |cell| count(&mut cell.pushes));
    }

    /// Closes the open second and opens the next.
    pub(crate) fn close(&self, number: u64, at: UnixMillis, gauges: Gauges) -> Second {
        let cells = mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        Second {
            number,
            at,
            cells: cells.into_values().collect(),
            slots_busy: gauges.slots_busy,
            slots_peak: gauges.slots_peak,
            calls_waiting: gauges.calls_waiting,
            tasks_queued: gauges.tasks_queued,
            model_switches: gauges.model_switches,
            probes: 0,
            probes_failed: 0,
        }
    }

    fn cell(&self, key: &Key, count: impl FnOnce(&mut Cell)) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = open.get_mut(key) {
            return count(cell);
        }
        let cell = open.entry(key.clone()).or_insert_with(|| Cell {
            agent: key.agent.clone(),
            model: key.model.clone(),
            drawn: key.drawn,
            served: key.served,
            tasks: Tasks::default(),
            calls: Calls::default(),
            pushes: Pushes::default(),
            signs: Signs::default(),
        });
        count(cell);
    }
}
