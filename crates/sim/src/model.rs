//! The one model server: a few slots, one model in memory, first come first served.

use std::collections::VecDeque;

use bellwether_core::{
    id::{InstanceId, ModelName},
    time::Millis,
    traffic::TaskId,
};

use crate::{chance::Chance, fleet::Pace};

pub(crate) struct ModelServer {
    pace: Pace,
    waiting: VecDeque<Call>,
    busy: usize,
    loaded: Option<ModelName>,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) instance: InstanceId,
    pub(crate) task: TaskId,
    pub(crate) model: ModelName,
}

impl ModelServer {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, waiting: VecDeque::new(), busy: 0, loaded: None }
    }

    pub(crate) fn ask(&mut self, call: Call) {
        self.waiting.push_back(call);
    }

    /// The next call that a slot is free for, and how long it takes.
    pub(crate) fn begin(&mut self, chance: &mut Chance) -> Option<(Call, Millis)> {
        if self.busy >= self.pace.slots {
            return None;
        }
        let call = self.waiting.pop_front()?;
        self.busy += 1;
        let load = if self.loaded.as_ref() == Some(&call.model) { Millis::ZERO } else { self.pace.load };
        self.loaded = Some(call.model.clone());
        Some((call, load + chance.log_normal(self.pace.call, 0.5)))
    }

    pub(crate) fn end(&mut self) {
        self.busy = self.busy.saturating_sub(1);
    }

    pub(crate) fn busy(&self) -> usize {
        self.busy
    }
}
