//! The agents among the services of a compose file: those that are told of a model or a model server, and those
//! that call themselves agents.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::agents::{Agent, plain_name};

#[derive(Deserialize)]
struct Compose {
    #[serde(default)]
    services: BTreeMap<String, Value>,
}

/// Images of what stands around agents, and is none even where it is told of a model server.
const AROUND: [&str; 22] = [
    "ollama",
    "open-webui",
    "postgres",
    "redis",
    "valkey",
    "nginx",
    "traefik",
    "caddy",
    "kong",
    "grafana",
    "prometheus",
    "loki",
    "rabbitmq",
    "nats",
    "qdrant",
    "chroma",
    "weaviate",
    "neo4j",
    "mysql",
    "mariadb",
    "mongo",
    "litellm",
];
/// Variables of which one makes a service an agent.
const TELLING: [&str; 6] = ["OLLAMA_", "OPENAI_", "AGENT_", "LLM_", "MODEL_NAME", "BACKEND_URL"];
/// What Bellwether tells each instance itself.
const OURS: [&str; 12] = [
    "AGENT_NAME",
    "AGENT_TYPE",
    "BACKEND_URL",
    "BELLWETHER_ADDRESS",
    "BELLWETHER_TOKEN",
    "HEALTH_PORT",
    "MODEL_NAME",
    "OLLAMA_BASE_URL",
    "OLLAMA_HOST",
    "OLLAMA_URL",
    "OPENAI_BASE_URL",
    "PORT",
];

/// Empty where there are none, or the file cannot be read.
pub(super) fn read(text: &str) -> Vec<Agent> {
    let Ok(compose) = serde_saphyr::from_str::<Compose>(text) else { return Vec::new() };
    compose.services.iter().filter_map(|(name, service)| agent(name, service)).collect()
}

fn agent(service: &str, about: &Value) -> Option<Agent> {
    let image = about["image"].as_str().unwrap_or_default();
    let base = image.rsplit('/').next().unwrap_or(image).split([':', '@']).next().unwrap_or_default();
    let env = environment(&about["environment"]);
    let told = env.iter().any(|(name, _)| TELLING.iter().any(|start| name.starts_with(start)));
    let around = AROUND.iter().any(|word| base.contains(word));
    if around || !(told || service.contains("agent") || base.contains("agent")) {
        return None;
    }
    let value =
        |names: &[&str]| names.iter().find_map(|name| env.iter().find(|(n, _)| n == name)).map(|(_, v)| v.clone());
    let mut notes = Vec::new();
    let command = words(&about["entrypoint"]).into_iter().chain(words(&about["command"])).collect::<Vec<_>>();
    if command.is_empty() {
        let of = if image.is_empty() { "the image that is built for it".to_owned() } else { image.to_owned() };
        notes.push(format!("how it is started stands in {of}, not in the compose file: write `command`"));
    }
    let (kept, left): (Vec<_>, Vec<_>) = env
        .iter()
        .filter(|(name, _)| !OURS.contains(&name.as_str()))
        .cloned()
        .partition(|(name, value)| !value.contains('$') && !is_secret(name));
    if !left.is_empty() {
        let names = left.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        notes.push(format!("left out, as its value is a secret or stands elsewhere: {names}"));
    }
    let limit = about.pointer("/deploy/resources/limits/memory").unwrap_or(&about["mem_limit"]);
    Some(Agent {
        name: plain_name(service),
        agent_type: value(&["AGENT_TYPE"]).map(|word| plain_name(&word)).filter(|word| !word.is_empty()),
        model: value(&["MODEL_NAME", "OLLAMA_MODEL", "LLM_MODEL", "MODEL"]).filter(|model| !model.contains('$')),
        memory_mib: limit.as_str().and_then(mib),
        command: (!command.is_empty()).then_some(command),
        env: kept,
        notes,
        ..Agent::default()
    })
}

/// A table, or a list of `NAME=VALUE`. A name alone is taken from the shell, and has no value here.
fn environment(env: &Value) -> Vec<(String, String)> {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "$".to_owned(),
        other => other.to_string(),
    };
    match env {
        Value::Object(table) => table.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        Value::Array(list) => {
            let pairs = list.iter().filter_map(Value::as_str);
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "$")))
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A command as a list, or as the line of a shell with nothing but words and quotes in it.
fn words(command: &Value) -> Vec<String> {
    match command {
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(line) if line.contains(['|', ';', '&', '>', '<', '`', '$']) => {
            vec!["sh".to_owned(), "-c".to_owned(), line.clone()]
        }
        Value::String(line) => split(line),
        _ => Vec::new(),
    }
}

fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => (quote, open) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (c, _) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

fn is_secret(name: &str) -> bool {
    ["KEY", "SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL"].iter().any(|word| name.to_uppercase().contains(word))
}

/// `512M`, `1.5g`, `256mb`: powers of 1024, as Docker has them.
fn mib(limit: &str) -> Option<u64> {
    let lower = limit.to_ascii_lowercase();
    let plain = lower.trim_end_matches('b').trim_end_matches('i');
    let (number, factor) = match plain.chars().last()? {
        'g' => (&plain[..plain.len() - 1], 1024.0),
        'm' => (&plain[..plain.len() - 1], 1.0),
        'k' => (&plain[..plain.len() - 1], 1.0 / 1024.0),
        _ => (plain, 1.0 / 1_048_576.0),
    };
    let mib = number.trim().parse::<f64>().ok()? * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a size of memory, checked to be above 1"
    )]
    let whole = (mib >= 1.0).then_some(mib as u64);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_sizes_are_read_as_compose_reads_them() {
        assert_eq!(split(r#"python -m agent --say "a b" ''"#), ["python", "-m", "agent", "--say", "a b", ""]);
        assert_eq!(words(&Value::from("a | b")), ["sh", "-c", "a | b"]);
        assert_eq!(
            ["512M", "1.5g", "256mb", "2GiB", "1073741824", "x"].map(mib),
            [Some(512), Some(1536), Some(256), Some(2048), Some(1024), None]
        );
    }
}
