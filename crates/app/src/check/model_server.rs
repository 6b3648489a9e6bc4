//! The model server: reachable, with the fleet's models, and really able to answer.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bellwether_core::{
    id::ModelName,
    spec::{AgentSpec, Revision},
};
use serde_json::{Value, json};

use super::{Asked, Check};
use crate::{ask::Asker, wording::some};

const LOOK: Duration = Duration::from_secs(5);
/// A large model on a slow disk takes its time to load.
const GENERATION_MAX: Duration = Duration::from_secs(120);
const SERVER: &str = "model server";
const MODELS: &str = "models";
const GENERATION: &str = "generation";

pub(super) struct ModelServer {
    pub(super) url: String,
    pub(super) asker: Asker,
    version: Result<String, String>,
}

pub(super) struct Models {
    pub(super) check: Check,
    /// One that is there: the one that most agents use.
    pub(super) ask: Option<String>,
}

impl ModelServer {
    pub(super) async fn find(url: &str) -> Self {
        let asker = Asker::new(url);
        let began = Instant::now();
        let version = match asker.get("/api/version", LOOK).await {
            Ok(answer) if answer.status == 200 => match answer.json() {
                Some(json) if json["version"].is_string() => {
                    let simulated = if json["simulated"] == true { " (simulated)" } else { "" };
                    let version = json["version"].as_str().unwrap_or_default();
                    Ok(format!("Ollama {version}{simulated} at {url}, after {} ms", began.elapsed().as_millis()))
                }
                _ => Err("its answer to /api/version is not Ollama's".to_owned()),
            },
            Ok(answer) => Err(answer.complaint()),
            Err(why) => Err(why),
        };
        Self { url: url.to_owned(), asker, version }
    }

    pub(super) fn is_there(&self) -> bool {
        self.version.is_ok()
    }

    pub(super) fn check(&self) -> Check {
        match &self.version {
            Ok(version) => Check::ok(SERVER, version),
            Err(why) => Check::failed(
                SERVER,
                format!("{}: {why}", self.url),
                "start it with `ollama serve`, or correct `ollama.url` in the fleet file; `bellwether sim-ollama` stands in \
                 for one",
            ),
        }
    }

    /// Names are compared with their tags: `tinyllama` is `tinyllama:latest`, and nothing else (R95).
    pub(super) async fn models_check(&self, revisions: &[(&AgentSpec, Revision)]) -> Models {
        let without = |check| Models { check, ask: None };
        if !self.is_there() {
            return without(Check::skipped(MODELS, "the model server does not answer"));
        }
        let present = match self.present().await {
            Ok(present) => present,
            Err(why) => {
                let remedy = "look at the model server's log; it should list its models at /api/tags";
                return without(Check::failed(MODELS, format!("they cannot be listed: {why}"), remedy));
            }
        };
        let mut wanted: BTreeMap<&ModelName, Vec<&str>> = BTreeMap::new();
        for (agent, revision) in revisions {
            let users = wanted.entry(&revision.model).or_default();
            if users.last() != Some(&agent.name.as_str()) {
                users.push(agent.name.as_str());
            }
        }
        let there = wanted.iter().filter(|(model, _)| present.contains(model));
        let ask = there.max_by_key(|(_, users)| users.len()).map(|(model, _)| model.to_string());
        let missing: Vec<_> = wanted.iter().filter(|(model, _)| !present.contains(model)).collect();
        if missing.is_empty() {
            let names = some(wanted.keys().map(|model| model.as_str()), 6);
            return Models { check: Check::ok(MODELS, format!("all {} are there: {names}", wanted.len())), ask };
        }
        let lines = missing.iter().map(|(model, users)| {
            let base = model.as_str().rsplit_once(':').map_or(model.as_str(), |(base, _)| base);
            let near = present.iter().find(|other| other.as_str().starts_with(&format!("{base}:")));
            let near = near.map_or(String::new(), |near| format!("; there is {near}, which is another model"));
            format!("{model} is missing, for {}{near}", some(users.iter().copied(), 3))
        });
        let evidence = lines.collect::<Vec<_>>().join("\n");
        let pulls = missing.iter().map(|(model, _)| format!("`ollama pull {model}`")).collect::<Vec<_>>().join("\n");
        Models { check: Check::failed(MODELS, evidence, pulls), ask }
    }

    async fn present(&self) -> Result<Vec<ModelName>, String> {
        let answer = self.asker.get("/api/tags", LOOK).await?;
        let json = answer.json().filter(|_| answer.status == 200).ok_or_else(|| answer.complaint())?;
        let models = json["models"].as_array().ok_or("it names no models")?;
        Ok(models.iter().filter_map(|model| model["name"].as_str()).map(ModelName::new).collect())
    }

    /// Deep health: a server whose lists are green can still be stuck. Where the fleet runs, the question takes its
    /// place in the gateway's queue like any other call.
    pub(super) async fn generation_check(&self, asked: &Asked, serving: bool, model: Option<&str>) -> Check {
        if !asked.generate {
            return Check::skipped(GENERATION, "left out with --no-generate");
        }
        let Some(model) = model else { return Check::skipped(GENERATION, "there is no model to ask") };
        let through = serving.then(|| Asker::new(&format!("http://{}/m/check", asked.listen)));
        let (asker, way) = match &through {
            Some(gateway) => (gateway, ", through the gateway"),
            None => (&self.asker, ""),
        };
        let began = Instant::now();
        let said = asker.post("/api/generate", &question(model, 8, false), GENERATION_MAX).await;
        let took = began.elapsed().as_secs_f64();
        let why = match said {
            Ok(answer) if answer.status == 200 => {
                let json = answer.json().unwrap_or(Value::Null);
                if json["response"].as_str().is_some_and(|words| !words.trim().is_empty()) {
                    #[expect(clippy::cast_precision_loss, reason = "nanoseconds, for display")]
                    let loading = json["load_duration"].as_u64().unwrap_or(0) as f64 / 1e9;
                    let evidence =
                        format!("{model} answered after {took:.1} s{way}; loading it took {loading:.1} s of that");
                    return Check::ok(GENERATION, evidence);
                }
                "an empty answer".to_owned()
            }
            Ok(answer) => answer.complaint(),
            Err(why) => why,
        };
        let remedy = format!(
            "`ollama run {model}` shows whether it answers at all, `ollama ps` what is loaded; a server that is stuck needs \
             a restart"
        );
        Check::failed(GENERATION, format!("{model} did not answer{way}: {why}"), remedy)
    }
}

/// Generation options alone: anything about the runner, such as a context size, would load the model anew.
pub(super) fn question(model: &str, tokens: u32, stream: bool) -> Value {
    json!({
        "model": model,
        "prompt": "Count from one to a hundred, in words.",
        "stream": stream,
        "options": {"num_predict": tokens, "temperature": 0},
    })
}
