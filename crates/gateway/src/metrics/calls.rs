//! Model calls by agent, side and model.

use bellwether_core::{histogram::Histogram as Recorded, observation::Cell};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::sync::atomic::AtomicU64;

use super::SECONDS;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    agent: String,
    side: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    agent: String,
    side: String,
    model: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tokens {
    agent: String,
    side: String,
    model: String,
    kind: &'static str,
}

type Durations = Family<Of, Histogram, fn() -> Histogram>;

pub(super) struct CallMetrics {
    ended: Family<Ended, Counter>,
    tokens: Family<Tokens, Counter>,
    slot_seconds: Family<Of, Counter<f64, AtomicU64>>,
    queue_wait: Durations,
    load: Durations,
    first_token: Durations,
    per_token: Durations,
    service: Durations,
}

fn durations() -> Durations {
    Family::new_with_constructor(|| Histogram::new(SECONDS))
}

impl CallMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let new = Self {
            ended: Family::default(),
            tokens: Family::default(),
            slot_seconds: Family::default(),
            queue_wait: durations(),
            load: durations(),
            first_token: durations(),
            per_token: durations(),
            service: durations(),
        };
        registry.register("model_calls", "Model calls that ended, by outcome", new.ended.clone());
        registry.register("model_tokens", "Tokens, as the model server counts them", new.tokens.clone());
        registry.register(
            "model_slot_seconds",
            "Time in which calls held a slot, from the grant until the model server was done",
            new.slot_seconds.clone(),
        );
        let mut spans = |name: &str, help: &str, family: &Durations| {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        spans("model_queue_wait", "From the request to its slot", &new.queue_wait);
        spans("model_load", "What the model server says that a call waited for its model to load", &new.load);
        spans("model_time_to_first_token", "From dispatch to the first byte of the answer", &new.first_token);
        spans("model_time_per_output_token", "Of streams, for each token after the first", &new.per_token);
        spans("model_service", "From dispatch to the last byte of the answer", &new.service);
        new
    }

    pub(super) fn count(&self, cell: &Cell, model: String) {
        let calls = &cell.calls;
        if calls.is_empty() {
            return;
        }
        let of = Of { agent: cell.agent.to_string(), side: cell.served.to_string(), model };
        let outcomes = [
            ("succeeded", calls.succeeded),
            ("failed", calls.failed - calls.unreachable.min(calls.failed)),
            ("unreachable", calls.unreachable),
            ("cancelled", calls.cancelled),
            ("refused", calls.refused),
        ];
        for (outcome, count) in outcomes.into_iter().filter(|(_, count)| *count > 0) {
            let Of { agent, side, model } = of.clone();
            self.ended.get_or_create(&Ended { agent, side, model, outcome }).inc_by(count);
        }
        for (kind, count) in [("input", calls.prompt_tokens), ("output", calls.output_tokens)] {
            let Of { agent, side, model } = of.clone();
            self.tokens.get_or_create(&Tokens { agent, side, model, kind }).inc_by(count);
        }
        #[expect(clippy::cast_precision_loss, reason = "microseconds of one second's calls")]
        self.slot_seconds.get_or_create(&of).inc_by(calls.slot_micros as f64 / 1e6);
        let spans = [
            (&self.queue_wait, &calls.queue_wait),
            (&self.load, &calls.load),
            (&self.first_token, &calls.first_byte),
            (&self.per_token, &calls.per_token),
            (&self.service, &calls.service),
        ];
        for (family, recorded) in spans {
            observe(family, &of, recorded);
        }
    }
}

fn observe(family: &Durations, of: &Of, recorded: &Recorded) {
    if recorded.is_empty() {
        return;
    }
    let histogram = family.get_or_create(of);
    for (micros, count) in recorded.iter() {
        (0..count).for_each(|_| histogram.observe(micros / 1e6));
    }
}
