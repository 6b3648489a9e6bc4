//! How long the simulated server takes.
//!
//! The times are frozen in `frozen.json`, which also holds what was measured on a real server and how far from it they may
//! be. `rows` holds the machine to that in virtual time, and the benchmark `rows` the server over sockets.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// All times in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

const FILE: &str = include_str!("frozen.json");

#[derive(Deserialize)]
struct Frozen {
    params: Map<String, Value>,
}

impl Params {
    /// The frozen ones, but for those that a JSON object replaces.
    pub(crate) fn replaced_by(changes: &str) -> serde_json::Result<Self> {
        let mut params = serde_json::from_str::<Frozen>(FILE)?.params;
        params.extend(serde_json::from_str::<Map<String, Value>>(changes)?);
        serde_json::from_value(Value::Object(params))
    }
}

impl Default for Params {
    fn default() -> Self {
        Self::replaced_by("{}").expect("the file is part of the program, and a test reads it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_leaves_out_stays_as_measured() {
        let slower = Params::replaced_by(r#"{"load_us": 2000000}"#).unwrap();
        assert_eq!(slower, Params { load_us: 2_000_000, ..Params::default() });
        assert!(Params::replaced_by(r#"{"lode_us": 1}"#).unwrap_err().to_string().contains("lode_us"));
        assert!(Params::replaced_by(r#"{"load_us": "long"}"#).is_err());
    }
}
