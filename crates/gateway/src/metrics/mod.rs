//! What Prometheus reads at `/metrics`, in the OpenMetrics text format.
//!
//! Counted from the one-second records, so that no call pays for it but by what it is recorded with anyway. Agents and
//! models are told apart up to a bound, because clients name models as they like: what comes later counts as `other`.

mod breakers;
mod calls;
mod gen_ai;
mod slots;

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, PoisonError},
};

use bellwether_core::{id::ModelName, observation::Second};
use prometheus_client::{encoding::text, registry::Registry};

use self::{breakers::BreakerMetrics, calls::CallMetrics, gen_ai::GenAiMetrics, slots::SlotMetrics};
pub(crate) use self::{
    gen_ai::{Operation, Told},
    slots::Slots,
};
use crate::breakers::Shown;

/// The media type of what is rendered.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Models that are told apart.
const MODELS_MAX: usize = 64;
const OTHER: &str = "other";

/// Seconds, for waits and answers of a model that may be small or on a slow machine.
const SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

pub(crate) struct Metrics {
    registry: Registry,
    calls: CallMetrics,
    gen_ai: GenAiMetrics,
    slots: SlotMetrics,
    breakers: BreakerMetrics,
    models: Models,
}

/// The models that have been seen.
#[derive(Default)]
struct Models(Mutex<HashSet<ModelName>>);

impl Models {
    fn label(&self, model: &ModelName) -> String {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.contains(model) || (seen.len() < MODELS_MAX && seen.insert(model.clone()));
        if known { model.as_str() } else { OTHER }.to_owned()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        Self {
            calls: CallMetrics::new(registry.sub_registry_with_prefix("bellwether")),
            slots: SlotMetrics::new(registry.sub_registry_with_prefix("bellwether")),
            gen_ai: GenAiMetrics::new(registry.sub_registry_with_prefix("gen_ai")),
            breakers: BreakerMetrics::new(registry.sub_registry_with_prefix("resilience4j_circuitbreaker")),
            models: Models::default(),
            registry,
        }
    }
}

impl Metrics {
    /// A second has closed.
    pub(crate) fn second(&self, second: &Second, told: Vec<Told>) {
        for cell in &second.cells {
            self.calls.count(cell, self.models.label(&cell.model));
        }
        for told in told {
            self.gen_ai.count(&told, self.models.label(&told.model));
        }
        self.slots.switched(second.model_switches);
    }

    /// A model was loaded again for other options than before.
    pub(crate) fn reloaded(&self) {
        self.slots.reloaded();
    }

    pub(crate) fn render(&self, slots: &Slots, breakers: &[Shown]) -> Result<String, fmt::Error> {
        self.slots.set(slots);
        self.breakers.set(breakers);
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
