//! The one model server: two slots, one model in memory, first come first served.

use std::collections::VecDeque;

use bellwether_core::{
    id::{InstanceId, ModelName},
    time::Millis,
    traffic::TaskId,
};

use crate::chance::Chance;

/// Calls that are worked on at once (R56).
pub(crate) const SLOTS: usize = 2;
const LOAD: Millis = Millis(1500);
const GENERATION: Millis = Millis(4000);

#[derive(Default)]
pub(crate) struct ModelServer {
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
    pub(crate) fn ask(&mut self, call: Call) {
        self.waiting.push_back(call);
    }

    /// The next call that a slot is free for, and how long it takes.
    pub(crate) fn begin(&mut self, chance: &mut Chance) -> Option<(Call, Millis)> {
        if self.busy >= SLOTS {
            return None;
        }
        let call = self.waiting.pop_front()?;
        self.busy += 1;
        let load = if self.loaded.as_ref() == Some(&call.model) { Millis::ZERO } else { LOAD };
        self.loaded = Some(call.model.clone());
        Some((call, load + chance.log_normal(GENERATION, 0.5)))
    }

    pub(crate) fn end(&mut self) {
        self.busy = self.busy.saturating_sub(1);
    }

    pub(crate) fn busy(&self) -> usize {
        self.busy
    }
}
