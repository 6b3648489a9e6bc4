//! The model servers, and what the queue in front of them is told about calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    fleet::base_url,
    reader::{Field, Fields, Reader},
    yaml::Kind,
};
use crate::{
    diagnostic::Diagnostic,
    id::{AgentName, ModelName},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ollama {
    /// `http://host:port`, without a path.
    pub url: String,
    /// Inference slots: model calls that may be in flight at once, for the whole fleet.
    pub parallel: u32,
    /// Servers beside this one, behind the same queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<ModelServer>,
    /// What else than calls of its own models it may be asked for.
    #[serde(default)]
    pub allow: Allow,
    /// Shares of the slots; who is not named has 1. A client that is no agent is `client/NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<AgentName, u32>,
    /// The context size with which a model is asked for, whatever the request says; none is the model's own. Models that are
    /// not named are asked for as requests say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub num_ctx: BTreeMap<ModelName, Option<u64>>,
}

/// A model server beside the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelServer {
    pub url: String,
    pub parallel: u32,
}

/// What the gateway passes on to the model server beside calls of its models. Nothing, unless somebody says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allow {
    /// What changes the server for everybody: `/api/pull`, `/api/delete` and the like.
    pub manage: bool,
    /// Models that it would not run itself but pass on to a cloud.
    pub cloud: bool,
}

impl Default for Ollama {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:11434".to_owned(),
            parallel: 2,
            more: Vec::new(),
            allow: Allow::default(),
            weights: BTreeMap::new(),
            num_ctx: BTreeMap::new(),
        }
    }
}

impl Ollama {
    /// Of all servers together.
    pub fn slots(&self) -> u32 {
        self.more.iter().fold(self.parallel, |slots, server| slots.saturating_add(server.parallel))
    }
}

/// The word for the context size that a model has by itself.
const OWN: &str = "own";

pub(super) fn read(r: &mut Reader<'_>, root: &Fields<'_>) -> Ollama {
    let mut ollama = Ollama::default();
    let keys = ["url", "parallel", "more", "allow", "weights", "num_ctx"];
    let Some(fields) = root.get("ollama").and_then(|field| r.fields(field.node, "\"ollama\"", &keys)) else {
        return ollama;
    };
    if let Some(url) = url(r, fields.get("url")) {
        ollama.url = url;
    }
    if let Some(parallel) = parallel(r, fields.get("parallel")) {
        ollama.parallel = parallel;
    }
    for node in r.items(fields.get("more")) {
        let Some(fields) = r.fields(node, "\"ollama.more\"", &["url", "parallel"]) else { continue };
        if !fields.has_or_meant("url") {
            let missing = Diagnostic::new("BW0126", "a model server has no address");
            r.report(fields.at, missing.help("write url: http://HOST:PORT"));
        }
        let parallel = parallel(r, fields.get("parallel")).unwrap_or(2);
        if let Some(url) = url(r, fields.get("url")) {
            ollama.more.push(ModelServer { url, parallel });
        }
    }
    let allow = fields.get("allow").and_then(|field| r.fields(field.node, "\"ollama.allow\"", &["manage", "cloud"]));
    if let Some(fields) = allow {
        ollama.allow = Allow {
            manage: r.flag(fields.get("manage")).unwrap_or_default(),
            cloud: r.flag(fields.get("cloud")).unwrap_or_default(),
        };
    }
    for (key, node) in r.named(fields.get("weights")) {
        if let Some(weight) = r.small(Some(Field { name: &key.name, node }), 1) {
            ollama.weights.insert(AgentName::new(key.name.as_str()), weight);
        }
    }
    for (key, node) in r.named(fields.get("num_ctx")) {
        let field = Field { name: &key.name, node };
        let own = matches!(&node.kind, Kind::Scalar { text, .. } if text == OWN);
        let size = if own { None } else { r.whole(Some(field), 1) };
        if own || size.is_some() {
            ollama.num_ctx.insert(ModelName::new(&key.name), size);
        }
    }
    ollama
}

fn url(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<String> {
    let url = r.text(field)?;
    match base_url(&url) {
        Ok(url) => Some(url),
        Err(cause) => {
            let told = Diagnostic::new("BW0126", format!("{url:?} is not the address of a model server"));
            let help = "write http://HOST:PORT, such as http://127.0.0.1:11434";
            r.report(field?.node.at, told.because(cause).help(help));
            None
        }
    }
}

fn parallel(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<u32> {
    let parallel = r.small(field, 0)?;
    if parallel == 0 {
        let told = Diagnostic::new("BW0114", "with 0 inference slots no agent could ever call a model");
        r.report(field?.node.at, told.help("write what the server has as OLLAMA_NUM_PARALLEL, 1 or more"));
        return None;
    }
    Some(parallel)
}
