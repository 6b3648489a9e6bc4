//! What stands behind the gateway, and what it may pass on.

use bellwether_core::spec::{Allow, Ollama};

/// Set once, when the gateway starts.
#[derive(Clone, Debug)]
pub struct ModelSettings {
    pub upstreams: Vec<UpstreamSettings>,
    pub allow: Allow,
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
        let upstream = UpstreamSettings { url: ollama.url.clone(), slots: ollama.parallel };
        Self { upstreams: vec![upstream], allow: ollama.allow }
    }

    /// Admission has the slots of one model server to give. None if there is not exactly one.
    pub(crate) fn sole(&self) -> Option<&UpstreamSettings> {
        match self.upstreams.as_slice() {
            [upstream] => Some(upstream),
            _ => None,
        }
    }
}

impl UpstreamSettings {
    /// Why the URL is not one that the gateway can call, if it is not.
    pub fn check_url(&self) -> Result<(), String> {
        super::upstream::Target::parse(&self.url).map(drop)
    }
}
