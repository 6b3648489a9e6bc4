//! The metrics of OpenTelemetry's semantic conventions for generative AI, with the buckets that they prescribe
//! (`gen_ai.server.request.duration`, `.time_to_first_token`, `.time_per_output_token`, `gen_ai.client.token.usage`).

use std::time::Duration;

use bellwether_core::id::ModelName;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// `gen_ai.operation.name`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Chat,
    TextCompletion,
    Embeddings,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Embeddings => "embeddings",
        }
    }
}

/// A call that ended, as it is told of.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) operation: Operation,
    pub(crate) model: ModelName,
    /// `error.type`; none where it succeeded.
    pub(crate) error: Option<&'static str>,
    pub(crate) duration: Duration,
    pub(crate) first_token: Option<Duration>,
    pub(crate) per_token: Option<Duration>,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: String,
    error_type: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Used {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: String,
    gen_ai_token_type: &'static str,
}

/// No well-known value names Ollama; the conventions ask for the name that others would use.
const PROVIDER: &str = "ollama";

const DURATION: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const PER_TOKEN: [f64; 13] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

type Histograms<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

pub(super) struct GenAiMetrics {
    duration: Histograms<Of>,
    first_token: Histograms<Of>,
    per_token: Histograms<Of>,
    tokens: Histograms<Used>,
}

impl GenAiMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let new = Self {
            duration: Family::new_with_constructor(|| Histogram::new(DURATION)),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN)),
            per_token: Family::new_with_constructor(|| Histogram::new(PER_TOKEN)),
            tokens: Family::new_with_constructor(|| Histogram::new(TOKENS)),
        };
        let mut spans = |name: &str, help: &str, family: &Histograms<Of>| {
            registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        };
        spans("server_request_duration", "From dispatch to the last byte", &new.duration);
        spans("server_time_to_first_token", "From dispatch to the first byte, of answers", &new.first_token);
        spans("server_time_per_output_token", "Of streams, for each token after the first", &new.per_token);
        registry.register(
            "client_token_usage",
            "Tokens of a call, as the model server counts them",
            new.tokens.clone(),
        );
        new
    }

    pub(super) fn count(&self, told: &Told, model: String) {
        let of = Of {
            gen_ai_operation_name: told.operation.as_str(),
            gen_ai_provider_name: PROVIDER,
            gen_ai_request_model: model,
            error_type: told.error,
        };
        self.duration.get_or_create(&of).observe(told.duration.as_secs_f64());
        for (family, span) in [(&self.first_token, told.first_token), (&self.per_token, told.per_token)] {
            if let Some(span) = span {
                family.get_or_create(&of).observe(span.as_secs_f64());
            }
        }
        for (kind, count) in [("input", told.input_tokens), ("output", told.output_tokens)] {
            if count > 0 {
                let used = Used {
                    gen_ai_operation_name: of.gen_ai_operation_name,
                    gen_ai_provider_name: PROVIDER,
                    gen_ai_request_model: of.gen_ai_request_model.clone(),
                    gen_ai_token_type: kind,
                };
                #[expect(clippy::cast_precision_loss, reason = "tokens of one call")]
                self.tokens.get_or_create(&used).observe(count as f64);
            }
        }
    }
}
