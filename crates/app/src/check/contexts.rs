//! Agents of one model that ask for different context sizes evict each other's model (R100).

use std::collections::BTreeMap;

use bellwether_core::{
    id::ModelName,
    spec::{AgentSpec, Revision},
};

use super::Check;
use crate::wording::some;

const NAME: &str = "context sizes";
/// Variables in which agents are told a context size.
const VARIABLES: [&str; 4] = ["OLLAMA_NUM_CTX", "OLLAMA_CONTEXT_LENGTH", "NUM_CTX", "MODEL_NUM_CTX"];

pub(super) fn check(revisions: &[(&AgentSpec, Revision)]) -> Check {
    let size = |revision: &Revision| VARIABLES.iter().find_map(|name| revision.env.get(*name)).cloned();
    if !revisions.iter().any(|(_, revision)| size(revision).is_some()) {
        let names = VARIABLES[..2].join(" or ");
        return Check::skipped(NAME, format!("no agent declares one in its environment ({names})"));
    }
    let mut models: BTreeMap<&ModelName, BTreeMap<Option<String>, Vec<&str>>> = BTreeMap::new();
    for (agent, revision) in revisions {
        let users = models.entry(&revision.model).or_default().entry(size(revision)).or_default();
        if users.last() != Some(&agent.name.as_str()) {
            users.push(agent.name.as_str());
        }
    }
    let conflicts: Vec<String> = models
        .iter()
        .filter(|(_, sizes)| sizes.len() > 1)
        .map(|(model, sizes)| {
            let sizes = sizes.iter().map(|(size, users)| {
                let size = size.as_deref().unwrap_or("the model's own");
                format!("{size} for {}", some(users.iter().copied(), 3))
            });
            format!("{model} is asked for with a context of {}", sizes.collect::<Vec<_>>().join(", and "))
        })
        .collect();
    if conflicts.is_empty() {
        let of = models.len();
        return Check::ok(NAME, format!("one size per model, in {of} {}", if of == 1 { "model" } else { "models" }));
    }
    let remedy = "give all agents of a model the same size, or a model of their own: each change of the size loads the \
                  model again";
    Check::warning(NAME, conflicts.join("\n"), remedy)
}
