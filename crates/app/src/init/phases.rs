//! In which order agents should be rolled out: what hurts least first, critical ones last.

use std::collections::BTreeMap;

use super::agents::Agent;

/// A phase as the file should have it.
#[derive(Debug, PartialEq)]
pub(super) struct Phase {
    pub(super) name: String,
    pub(super) select: Select,
    pub(super) agents: usize,
    pub(super) bake: &'static str,
}

#[derive(Debug, PartialEq)]
pub(super) enum Select {
    Number(u32),
    Agents(Vec<String>),
    Rest,
}

const NAMES: [&str; 4] = ["canary", "limited", "production", "full"];
const BAKES: [&str; 4] = ["30m", "45m", "60m", "75m"];
/// Above this the names of a phase would be a wall; the product's own four phases do as well.
const NAMED_MAX: usize = 24;
/// Types whose agents only look on.
const HARMLESS: [&str; 4] = ["monitoring", "logging", "metrics", "observability"];

/// None where the product's own phases are as good.
pub(super) fn of(agents: &[Agent]) -> Option<Vec<Phase>> {
    let mut numbers: BTreeMap<u32, usize> = BTreeMap::new();
    for agent in agents {
        *numbers.entry(agent.phase.unwrap_or(u32::MAX)).or_default() += 1;
    }
    if !numbers.contains_key(&u32::MAX) && numbers.len() > 1 {
        return Some(numbered(&numbers));
    }
    if agents.len() > NAMED_MAX {
        return None;
    }
    let mut order: Vec<&Agent> = agents.iter().collect();
    let harmless = |agent: &Agent| agent.agent_type.as_deref().is_some_and(|t| HARMLESS.contains(&t));
    order.sort_by_key(|agent| (agent.critical, !harmless(agent)));
    // A tenth, a quarter, the rest; a fleet of few has one agent to begin with.
    let ends = [agents.len().div_ceil(10), agents.len().div_ceil(4), agents.len()];
    let mut phases = Vec::new();
    let mut begin = 0;
    for end in ends.into_iter().filter(|&end| end > 0) {
        if end == begin {
            continue;
        }
        let names = order[begin..end].iter().map(|agent| agent.name.clone()).collect();
        let last = end == agents.len();
        let at = phases.len().min(BAKES.len() - 1);
        phases.push(Phase {
            name: if last && !phases.is_empty() { "full".to_owned() } else { NAMES[at].to_owned() },
            select: if last { Select::Rest } else { Select::Agents(names) },
            agents: end - begin,
            bake: BAKES[at],
        });
        begin = end;
    }
    Some(phases)
}

fn numbered(numbers: &BTreeMap<u32, usize>) -> Vec<Phase> {
    let phases = numbers.iter().enumerate().map(|(at, (&number, &agents))| Phase {
        name: if numbers.len() <= NAMES.len() { NAMES[at].to_owned() } else { format!("phase-{number}") },
        select: Select::Number(number),
        agents,
        bake: BAKES[at.min(BAKES.len() - 1)],
    });
    phases.collect()
}
