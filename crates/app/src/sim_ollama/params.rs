//! How long the simulated server takes.
//!
//! [`FROZEN`] reproduces what was measured on a real Ollama (2 slots, one model in memory at a time, a model
//! that answers in about 10 ms), each figure within 15 %. `rows` holds the machine to it:
//!
//! | load | answers that succeed | answers per second | p95 |
//! |---|---|---|---|
//! | 131 clients, 3 models, each gives up after 10 s | 48 % | 6.3 | 9.7 s |
//! | 20 clients, 3 models | all | 7.4 | 4.5 s |
//! | 131 clients, one model | all | 207 | 0.7 s |
//! | one client with 60 connections beside ten with one | | it takes 85 %, 59 times each other's share | |

use serde::{Deserialize, Serialize};

/// All times in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// From an empty memory to a model that can be asked.
    pub(crate) load_us: u64,
    /// From the decision to unload a model to the next load; also after a load that was aborted.
    pub(crate) unload_us: u64,
    /// From the end of a model's last call until the scheduler knows that the model is idle.
    pub(crate) linger_us: u64,
    /// Per call, before the prompt is evaluated.
    pub(crate) call_us: u64,
    pub(crate) prompt_token_us: u64,
    pub(crate) output_token_us: u64,
    /// Loads, unloads and calls take up to this much more or less, in parts of a thousand.
    pub(crate) jitter_permille: u64,
    /// Tokens of an answer to a request that does not say how many it wants.
    pub(crate) output_tokens: u32,
    pub(crate) seed: u64,
}

pub(crate) const FROZEN: Params = Params {
    load_us: 230_000,
    unload_us: 30_000,
    linger_us: 1_500,
    call_us: 460,
    prompt_token_us: 20,
    output_token_us: 1_100,
    jitter_permille: 100,
    output_tokens: 8,
    seed: 1,
};

impl Default for Params {
    fn default() -> Self {
        FROZEN
    }
}
