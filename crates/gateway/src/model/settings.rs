//! What stands behind the gateway, and what it may pass on.

use std::collections::BTreeMap;

use bellwether_core::{
    id::{AgentName, ModelName},
    inference::Limits,
    spec::{Allow, Ollama},
};

/// Set once, when the gateway starts.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    /// At least one.
    pub upstreams: Vec<UpstreamSettings>,
    pub allow: Allow,
    /// Shares of the slots; who is not named has 1.
    pub weights: BTreeMap<AgentName, u32>,
    /// The context size with which a model is asked for, whatever the request says; none is the model's own.
    pub contexts: BTreeMap<ModelName, Option<u64>>,
}

/// A model server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// `http://host:port`, with or without a path in front of the API's own.
    pub url: String,
    /// Calls that it may have in flight.
    pub slots: u32,
}

impl ModelSettings {
    pub(crate) fn of(ollama: &Ollama) -> Self {
        let first = UpstreamSettings { url: ollama.url.clone(), slots: ollama.parallel };
        let more = ollama.more.iter().map(|it| UpstreamSettings { url: it.url.clone(), slots: it.parallel });
        Self {
            upstreams: [first].into_iter().chain(more).collect(),
            allow: ollama.allow,
            weights: ollama.weights.clone(),
            contexts: ollama.num_ctx.clone(),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        let slots = self.upstreams.iter().map(|upstream| upstream.slots).collect();
        Limits { slots, weights: self.weights.clone(), ..Limits::for_slots(1) }
    }
}

impl UpstreamSettings {
    /// Why the URL is not one that the gateway can call, if it is not.
    pub fn check_url(&self) -> Result<(), String> {
        super::upstream::Target::parse(&self.url).map(drop)
    }
}
