//! Words that become part of URLs, environments and messages, checked once.

use std::collections::BTreeMap;

use super::reader::{Field, Reader};
use crate::{
    diagnostic::Diagnostic,
    id::{AgentName, ModelName},
};

/// What Bellwether tells each instance itself; a value of the file's own would lead around the gateway.
const OURS: [&str; 13] = [
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
    "OPENAI_API_BASE",
    "PORT",
];

/// Longer names do not fit where instances are labelled.
const LENGTH_MAX: usize = 100;

pub(super) fn agent(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<AgentName> {
    let field = field?;
    let text = r.text(Some(field))?;
    match agent_name(&text) {
        Ok(name) => Some(name),
        Err(bad) => {
            r.report(field.node.at, bad);
            None
        }
    }
}

/// An agent's name is a path segment of the gateway, so it holds nothing that a URL would have to escape.
pub(super) fn agent_name(text: &str) -> Result<AgentName, Diagnostic> {
    if text.is_empty() {
        return Err(Diagnostic::new("BW0112", "an agent has no name").help("write a name such as \"log-reader\""));
    }
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if fits(text, lower) {
        return Ok(AgentName::new(text));
    }
    let bad = Diagnostic::new("BW0112", format!("{text:?} cannot be the name of an agent")).because(format!(
        "it is part of URLs: a-z, 0-9, '.', '_' and '-', a letter or digit first, {LENGTH_MAX} at most"
    ));
    let cleaned: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|c| if lower(c) || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    let cleaned = cleaned.trim_matches(['.', '_', '-']);
    Err(if fits(cleaned, lower) {
        bad.help(format!("write {cleaned:?}"))
    } else {
        bad.help("write a name such as \"log-reader\"")
    })
}

/// The name of a type, a phase, a revision or a fleet.
pub(super) fn word(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<String> {
    let field = field?;
    let text = r.text(Some(field))?;
    if fits(&text, |c| c.is_ascii_alphanumeric()) {
        return Some(text);
    }
    let what = if field.name == "name" { "phase" } else { field.name };
    r.report(field.node.at, bad_word(what, &text));
    None
}

pub(super) fn is_word(text: &str) -> bool {
    fits(text, |c| c.is_ascii_alphanumeric())
}

pub(super) fn bad_word(what: &str, text: &str) -> Diagnostic {
    Diagnostic::new("BW0132", format!("{text:?} cannot be the name of a {what}"))
        .because("it can have letters, digits, '.', '_' and '-', a letter or digit first")
        .help("write one word without spaces")
}

pub(super) fn model(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<ModelName> {
    let field = field?;
    let text = r.text(Some(field))?;
    if is_model(&text) {
        return Some(ModelName::new(&text));
    }
    r.report(field.node.at, bad_model(&text));
    None
}

pub(super) fn is_model(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())
}

pub(super) fn bad_model(text: &str) -> Diagnostic {
    Diagnostic::new("BW0132", format!("{text:?} cannot be the name of a model"))
        .help("write it as the model server lists it, such as tinyllama or qwen2.5-coder:7b")
}

/// An environment that leaves alone what Bellwether sets.
pub(super) fn env(r: &mut Reader<'_>, field: Option<Field<'_>>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (key, (value, at)) in r.pairs(field) {
        if OURS.contains(&key.as_str()) {
            let help = match key.as_str() {
                "MODEL_NAME" => "remove it, and set the agent's model instead",
                "AGENT_TYPE" => "remove it, and set the agent's type instead",
                "OLLAMA_HOST" | "OLLAMA_URL" | "OLLAMA_BASE_URL" => "remove it, and set ollama.url at the top instead",
                _ => "remove it",
            };
            r.report(
                at,
                Diagnostic::new(
                    "BW0125",
                    format!("the environment sets {key}, which Bellwether sets for each instance"),
                )
                .because("with another value the agent would talk past the gateway or under another name")
                .help(help),
            );
        } else if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            r.report(
                at,
                Diagnostic::new("BW0132", format!("{key:?} cannot be a variable of an environment"))
                    .help("write a name without '=', such as LOG_LEVEL"),
            );
        } else {
            env.insert(key, value);
        }
    }
    env
}

/// The first three names, and how many more there are.
pub(crate) fn some<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0..=4 => names.join(", "),
        n => format!("{} and {} more", names[..3].join(", "), n - 3),
    }
}

fn fits(text: &str, first: impl Fn(char) -> bool) -> bool {
    text.len() <= LENGTH_MAX
        && text.starts_with(&first)
        && text.chars().all(|c| first(c) || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_agents_are_safe_in_a_url() {
        for good in ["a", "log-aggregator-loki", "v2.x_1", "0day"] {
            assert!(agent_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "a/b", "ä", "..", "a%20"] {
            assert!(agent_name(bad).is_err(), "{bad}");
        }
        assert_eq!(agent_name("Log Reader!").unwrap_err().help.unwrap(), "write \"log-reader\"");
    }

    #[test]
    fn long_lists_of_names_are_cut() {
        assert_eq!(some(["a", "b", "c", "d"].into_iter()), "a, b, c, d");
        assert_eq!(some(["a", "b", "c", "d", "e"].into_iter()), "a, b, c and 2 more");
    }
}
