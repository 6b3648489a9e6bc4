//! What two versions of a fleet file make of a fleet, for people. Values are not told: an environment may hold secrets.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{AgentSpec, Spec, names};

/// What differs, one sentence each; nothing where both mean the same. Whatever a file can say counts, because
/// everything that is stored of it does.
pub fn differences(from: &Spec, to: &Spec) -> Vec<String> {
    let mut told = agents(from, to);
    let (from, to) = (sections(from), sections(to));
    for section in from.keys().chain(to.keys()).collect::<BTreeSet<_>>() {
        let pair = (from.get(section).unwrap_or(&Value::Null), to.get(section).unwrap_or(&Value::Null));
        let keys = keys(pair.0, pair.1);
        match (pair.0 == pair.1, keys.is_empty()) {
            (true, _) => {}
            (false, true) => told.push(format!("{section} differs")),
            (false, false) => told.push(format!("{section} differs in {}", keys.join(", "))),
        }
    }
    told
}

/// Agents that are there on one side only, or are of another type: what a fleet cannot take up while it runs.
pub fn other_agents<'s>(
    from: impl Iterator<Item = (&'s str, &'s str)>,
    to: impl Iterator<Item = (&'s str, &'s str)>,
) -> Vec<String> {
    let (from, to): (BTreeMap<_, _>, BTreeMap<_, _>) = (from.collect(), to.collect());
    let named = |names: Vec<&str>, one: &str, many: &str| {
        let verb = if names.len() == 1 { one } else { many };
        (!names.is_empty()).then(|| format!("{} {verb} ({})", counted(names.len()), names::some(names.iter().copied())))
    };
    let new = to.keys().filter(|name| !from.contains_key(*name)).copied().collect();
    let gone = from.keys().filter(|name| !to.contains_key(*name)).copied().collect();
    let typed = from.iter().filter(|(name, of)| to.get(*name).is_some_and(|other| other != *of));
    let typed = typed.map(|(name, _)| *name).collect();
    let all = [
        named(new, "is new", "are new"),
        named(gone, "is gone", "are gone"),
        named(typed, "has another type", "have another type"),
    ];
    all.into_iter().flatten().collect()
}

fn agents<'s>(from: &'s Spec, to: &'s Spec) -> Vec<String> {
    let typed = |spec: &'s Spec| spec.agents.iter().map(|agent| (agent.name.as_str(), agent.agent_type.as_str()));
    let mut told = other_agents(typed(from), typed(to));
    let mut alike: BTreeMap<Vec<String>, Vec<&str>> = BTreeMap::new();
    for agent in &to.agents {
        let Some(before) = from.agent(&agent.name).filter(|before| *before != agent) else { continue };
        let mut keys = keys(&of_agent(before), &of_agent(agent));
        keys.retain(|key| key != "agent_type");
        if !keys.is_empty() {
            alike.entry(keys).or_default().push(agent.name.as_str());
        }
    }
    for (keys, names) in alike {
        let verb = if names.len() == 1 { "differs" } else { "differ" };
        let who = names::some(names.iter().copied());
        told.push(format!("{} {verb} in {} ({who})", counted(names.len()), keys.join(", ")));
    }
    told
}

/// The revision beside the rest, as in the file.
fn of_agent(agent: &AgentSpec) -> Value {
    let mut value = table(agent);
    if let Some(Value::Object(revision)) = value.get_mut("revision").map(Value::take) {
        for (key, part) in revision {
            // A hash of the others.
            if key != "id" {
                value[if key == "name" { "revision".to_owned() } else { key }] = part;
            }
        }
    }
    value
}

fn sections(spec: &Spec) -> BTreeMap<String, Value> {
    match table(spec) {
        Value::Object(all) => all.into_iter().filter(|(key, _)| key != "agents").collect(),
        _ => BTreeMap::new(),
    }
}

fn table(value: &impl serde::Serialize) -> Value {
    // What is stored as JSON in any case.
    serde_json::to_value(value).unwrap_or_default()
}

/// Of two tables those whose values differ, in the words of the file.
fn keys(from: &Value, to: &Value) -> Vec<String> {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return Vec::new() };
    let all: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let differs = all.into_iter().filter(|key| from.get(*key) != to.get(*key));
    differs.map(|key| key.trim_end_matches("_bytes").to_owned()).collect()
}

fn counted(count: usize) -> String {
    if count == 1 { "1 agent".to_owned() } else { format!("{count} agents") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Sources, parse_fleet};

    const FLEET: &str = "\
version: 1
agents:
  defaults: {command: [agent], env: {TOKEN: secret-one}}
  list: [a, b, {name: c, type: web}]
";

    fn spec(text: &str) -> Spec {
        parse_fleet(&Sources { name: "fleet.yaml", text, read: &|_| Err(String::new()) }).unwrap()
    }

    fn told(edited: &str) -> String {
        differences(&spec(FLEET), &spec(edited)).join("\n")
    }

    #[test]
    fn what_means_the_same_differs_in_nothing() {
        assert_eq!(told(FLEET), "");
        assert_eq!(told(&format!("# a note\n{}", FLEET.replace("[a, b,", "[a,   b,"))), "");
    }

    #[test]
    fn each_difference_is_named_by_its_key_and_no_value_is_told() {
        insta::assert_snapshot!(told(&FLEET.replace("secret-one", "secret-two")), @"3 agents differ in env (a, b, c)");
        insta::assert_snapshot!(
            told(
                "\
version: 1
host: {memory: 3GiB}
agents:
  defaults: {command: [other], env: {TOKEN: secret-one}, drain: 3s}
  list: [a, {name: c, type: tool, memory_limit: 1GiB}, d]
rollout: {window: 6h, baseline: 5m}
"
            ),
            @r"
        1 agent is new (d)
        1 agent is gone (b)
        1 agent has another type (c)
        1 agent differs in command, drain (a)
        1 agent differs in command, drain, memory_limit (c)
        host differs in memory, reserve
        rollout differs in baseline, phases, window
        "
        );
    }
}
