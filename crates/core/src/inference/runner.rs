//! What a model server has to have in memory to answer a call: weights, and the options with which it runs them.
//!
//! A model server loads a model again when it is asked for with another context size, batch size or the like.
//! Two names of the same weights are one model to it.

use std::{cmp::Ordering, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::id::ModelName;

/// Two calls share what is loaded if both weights and options agree. It is compared by these, not by the name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Runner {
    /// The name to load it by.
    pub model: ModelName,
    /// Of the weights, as the model server tells it. Where it is not known the name stands for it.
    pub digest: Option<Arc<str>>,
    pub options: RunnerOptions,
}

/// A name alone is a runner too.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Name(ModelName),
    Whole {
        model: ModelName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Arc<str>>,
        #[serde(default, skip_serializing_if = "RunnerOptions::is_default")]
        options: RunnerOptions,
    },
}

impl From<Written> for Runner {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(model) => model.into(),
            Written::Whole { model, digest, options } => Self { model, digest, options },
        }
    }
}

impl From<Runner> for Written {
    fn from(runner: Runner) -> Self {
        let Runner { model, digest, options } = runner;
        if digest.is_none() && options.is_default() {
            Self::Name(model)
        } else {
            Self::Whole { model, digest, options }
        }
    }
}

/// The options that a model server loads a model anew for, each with its JSON value, in the order of their names.
/// Empty: the model's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunnerOptions(pub Arc<[(String, String)]>);

/// The options of Ollama's API that belong to a loaded model and not to a call (its `Runner` options, api/types.go).
pub const RUNNER_OPTIONS: [&str; 6] = ["main_gpu", "num_batch", "num_ctx", "num_gpu", "num_thread", "use_mmap"];

impl RunnerOptions {
    /// Takes what belongs to the runner out of the options of a call.
    pub fn of<'a>(options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let ours = options.into_iter().filter(|(name, value)| RUNNER_OPTIONS.contains(name) && *value != "null");
        let mut ours: Vec<(String, String)> = ours.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        ours.sort();
        ours.dedup_by(|one, other| one.0 == other.0);
        Self(ours.into())
    }

    pub fn is_default(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for RunnerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_default() {
            return f.pad("the model's own");
        }
        for (at, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name} {value}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Runner {
    fn key(&self) -> (&str, &RunnerOptions) {
        (self.digest.as_deref().unwrap_or(self.model.as_str()), &self.options)
    }
}

impl From<ModelName> for Runner {
    fn from(model: ModelName) -> Self {
        Self { model, digest: None, options: RunnerOptions::default() }
    }
}

impl PartialEq for Runner {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Runner {}

impl PartialOrd for Runner {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Runner {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(name: &str, digest: Option<&str>, options: &[(&str, &str)]) -> Runner {
        let options = RunnerOptions::of(options.iter().copied());
        Runner { model: ModelName::new(name), digest: digest.map(Into::into), options }
    }

    #[test]
    fn names_of_the_same_weights_are_one_runner_and_other_options_another() {
        let plain = runner("m", Some("d"), &[]);
        assert_eq!(plain, runner("alias", Some("d"), &[]));
        assert_ne!(plain, runner("m", Some("e"), &[]));
        assert_ne!(plain, runner("m", Some("d"), &[("num_ctx", "4096")]));
        assert_eq!(runner("m", None, &[]), runner("m:latest", None, &[]));
    }

    #[test]
    fn only_what_loads_a_model_anew_tells_runners_apart() {
        let asked = [("temperature", "0.1"), ("num_gpu", "1"), ("num_ctx", "4096"), ("num_batch", "null")];
        let turned = [("num_ctx", "4096"), ("seed", "7"), ("num_gpu", "1")];
        assert_eq!(RunnerOptions::of(asked), RunnerOptions::of(turned));
        assert!(RunnerOptions::of([("temperature", "0.1")]).is_default());
    }

    #[test]
    fn it_is_read_back_as_it_was_written_and_from_a_name_alone() {
        let whole = runner("m", Some("d"), &[("num_ctx", "4096")]);
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Runner>(&text).unwrap(), whole);
        assert_eq!(serde_json::from_str::<Runner>("\"m\"").unwrap(), ModelName::new("m").into());
        assert_eq!(serde_json::to_string(&runner("m", None, &[])).unwrap(), "\"m:latest\"");
    }
}
