//! The model server and what it has.

use std::time::Duration;

use serde_json::Value;

use crate::{ask::Asker, wording::some};

const LOOK: Duration = Duration::from_secs(3);
pub(super) const DEFAULT: &str = "http://127.0.0.1:11434";

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) url: String,
    /// None where nothing answers.
    pub(super) version: Option<String>,
    pub(super) models: Vec<Model>,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) bytes: u64,
    embeds: bool,
}

impl Server {
    pub(super) async fn ask(url: &str) -> Self {
        let asker = Asker::new(url);
        let json = async |path| asker.get(path, LOOK).await.ok().filter(|answer| answer.status == 200)?.json();
        let version = json("/api/version").await.and_then(|json| Some(json["version"].as_str()?.to_owned()));
        let tags = if version.is_some() { json("/api/tags").await } else { None };
        let models = tags.as_ref().and_then(|tags| tags["models"].as_array()).map(Vec::as_slice).unwrap_or_default();
        let models = models.iter().filter_map(Model::read).collect();
        Self { url: url.to_owned(), version, models }
    }

    pub(super) fn told(&self) -> String {
        let Some(version) = &self.version else { return format!("no model server: nothing answers at {}", self.url) };
        let names = some(self.models.iter().map(|model| model.name.as_str()), 5);
        let names = if names.is_empty() { "without models".to_owned() } else { format!("with {names}") };
        format!("Ollama {version} at {}, {names}", self.url)
    }

    pub(super) fn is_local(&self) -> bool {
        ["http://127.", "http://localhost:", "http://[::1]:"].iter().any(|here| self.url.starts_with(here))
    }

    /// The smallest that generates text: what an agent that names none can do with.
    pub(super) fn default_model(&self) -> Option<&str> {
        self.models
            .iter()
            .filter(|model| !model.embeds)
            .min_by_key(|model| model.bytes)
            .map(|model| model.name.as_str())
    }

    pub(super) fn largest_bytes(&self) -> u64 {
        self.models.iter().map(|model| model.bytes).max().unwrap_or(0)
    }
}

impl Model {
    fn read(json: &Value) -> Option<Self> {
        let name = json["name"].as_str()?.to_owned();
        let family = json["details"]["family"].as_str().unwrap_or_default();
        let embeds = family.contains("bert") || name.contains("embed") || name.starts_with("bge-");
        Some(Self { bytes: json["size"].as_u64().unwrap_or(0), name, embeds })
    }
}

/// `OLLAMA_HOST` may hold an address that is listened on, without a scheme or a port.
pub(crate) fn address_from(ollama_host: Option<&str>) -> String {
    let Some(given) = ollama_host.map(str::trim).filter(|given| !given.is_empty()) else { return DEFAULT.to_owned() };
    let plain = given.strip_prefix("http://").unwrap_or(given);
    let plain = plain.split('/').next().unwrap_or(plain);
    let (host, port) = match plain.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => (host, port),
        _ => (plain, "11434"),
    };
    let host = if matches!(host, "" | "0.0.0.0" | "[::]") { "127.0.0.1" } else { host };
    format!("http://{host}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_ollama_is_read_as_ollama_reads_it() {
        for (given, url) in [
            (None, DEFAULT),
            (Some(""), DEFAULT),
            (Some("0.0.0.0"), DEFAULT),
            (Some(":8080"), "http://127.0.0.1:8080"),
            (Some("10.0.0.7"), "http://10.0.0.7:11434"),
            (Some("http://gpu:11434/"), "http://gpu:11434"),
        ] {
            assert_eq!(address_from(given), url, "{given:?}");
        }
    }
}
