//! The agents and types that the evidence points at, and what the release changes for them.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_core::{
    id::{AgentName, AgentType, Side},
    rollout::{AgentView, Event},
    spec::Revision,
    time::UnixMillis,
};

use super::super::{
    document::{Block, Cell, Table, Tone},
    facts::Facts,
    tally::{self, AgentSum, Sides, Tally},
    words::{mib, names, plural, real, share, span},
};

const AGENTS_MAX: usize = 20;
const TYPES_MAX: usize = 12;
const CHANGES_MAX: usize = 6;

pub(super) fn blocks(facts: &Facts) -> Vec<Block> {
    let until = facts.record.began;
    let sums = tally::by_agent(&facts.seconds, &facts.beats, UnixMillis(0), until);
    let blame = &facts.blame;
    let mut blocks = vec![Block::Text(introduction(facts))];
    if !blame.agents.is_empty() {
        blocks.push(Block::Table(agents(facts, &sums)));
    }
    let types = types(facts, &sums);
    if !types.rows.is_empty() {
        blocks.push(Block::Text(
            "Errors by type, before the rollback; a type of which green had no work is left out:".to_owned(),
        ));
        blocks.push(Block::Table(types));
    }
    let changes = changes(facts);
    if !changes.rows.is_empty() {
        blocks.push(Block::Text(
            "What the release changes for them (values of variables are not written down):".to_owned(),
        ));
        blocks.push(Block::Table(changes));
    }
    blocks
}

fn introduction(facts: &Facts) -> String {
    let blame = &facts.blame;
    match (blame.named, blame.agents.len()) {
        (_, 0) => "At nobody in particular: no green stands out in the last minutes.".to_owned(),
        (true, n) if n > AGENTS_MAX => format!("The trigger points at {n} agents; the first {AGENTS_MAX}:"),
        (true, n) => format!("The trigger points at {}:", plural(n, "agent", "agents")),
        (false, n) => format!(
            "The trigger points at nobody. In the last minutes {} out most:",
            if n == 1 { "one green stood".to_owned() } else { format!("{n} greens stood") }
        ),
    }
}

fn agents(facts: &Facts, sums: &BTreeMap<AgentName, AgentSum>) -> Table {
    let mut table = Table::new(&[
        "Agent",
        "Type",
        "Traffic now",
        "Green's errors",
        "Blue's errors",
        "Green's p95",
        "Calls failed",
        "Memory",
        "Exits",
    ]);
    let views: BTreeMap<&AgentName, &AgentView> = facts.agents.iter().map(|view| (&view.name, view)).collect();
    let exits = exits(facts);
    let none = AgentSum::default();
    for name in facts.blame.agents.iter().take(AGENTS_MAX) {
        let sum = sums.get(name).unwrap_or(&none);
        let green = &sum.sides.green;
        let view = views.get(name);
        let traffic = match view.and_then(|view| view.serving) {
            Some(Side::Blue) => Cell::text("blue"),
            Some(Side::Green) => Cell::toned("green", Tone::Bad),
            None => Cell::toned("none", Tone::Bad),
        };
        let exits = exits.get(name).copied().unwrap_or(0);
        table.rows.push(vec![
            Cell::text(name.as_str()),
            Cell::text(view.map_or("?", |view| view.agent_type.as_str())),
            traffic,
            errors(green).with(if green.errors > 0 { Tone::Bad } else { Tone::Plain }),
            errors(&sum.sides.blue),
            Cell::number(green.own_time.quantile(0.95).map_or_else(|| "–".to_owned(), span)),
            Cell::number(share(green.calls_failed, green.calls)),
            Cell::number(if sum.memory_peak.green == 0 { "–".to_owned() } else { mib(real(sum.memory_peak.green)) }),
            Cell::number(exits.to_string()).with(if exits > 0 { Tone::Bad } else { Tone::Plain }),
        ]);
    }
    table
}

fn errors(tally: &Tally) -> Cell {
    Cell::number(share(tally.errors, tally.outcomes))
}

/// How often instances of an agent's green ended by themselves.
fn exits(facts: &Facts) -> BTreeMap<&AgentName, u64> {
    let mut exits = BTreeMap::new();
    for entry in &facts.slice.entries {
        if let Event::Exited { instance, exit } = &entry.event
            && !exit.asked
            && let Some(member) = facts.roster.get(instance).filter(|member| member.side == Side::Green)
        {
            *exits.entry(&member.agent).or_default() += 1;
        }
    }
    exits
}

fn types(facts: &Facts, sums: &BTreeMap<AgentName, AgentSum>) -> Table {
    let type_of: BTreeMap<&AgentName, &AgentType> =
        facts.agents.iter().map(|view| (&view.name, &view.agent_type)).collect();
    let mut by_type: BTreeMap<&AgentType, Sides<(u64, u64)>> = BTreeMap::new();
    for (name, sum) in sums {
        let Some(agent_type) = type_of.get(name) else { continue };
        let counts = by_type.entry(agent_type).or_default();
        for side in [Side::Blue, Side::Green] {
            let tally = sum.sides.of(side);
            let (errors, outcomes) = counts.of_mut(side);
            *errors += tally.errors;
            *outcomes += tally.outcomes;
        }
    }
    let mut ranked: Vec<_> = by_type.into_iter().filter(|(_, counts)| counts.green.1 > 0).collect();
    let rate = |(errors, outcomes): (u64, u64)| real(errors) / real(outcomes.max(1));
    ranked.sort_by(|(a, x), (b, y)| rate(y.green).total_cmp(&rate(x.green)).then_with(|| a.cmp(b)));
    let mut table = Table::new(&["Type", "Green's errors", "Blue's errors"]);
    for (agent_type, counts) in ranked.into_iter().take(TYPES_MAX) {
        let tone = if counts.green.0 > 0 { Tone::Bad } else { Tone::Plain };
        table.rows.push(vec![
            Cell::text(agent_type.as_str()),
            Cell::number(share(counts.green.0, counts.green.1)).with(tone),
            Cell::number(share(counts.blue.0, counts.blue.1)),
        ]);
    }
    table
}

fn changes(facts: &Facts) -> Table {
    let plan = &facts.rollout.plan;
    let blamed: BTreeSet<&AgentName> = facts.blame.agents.iter().collect();
    let mut found: BTreeMap<(&'static str, String, String), Vec<&AgentName>> = BTreeMap::new();
    for planned in plan.agents().filter(|planned| blamed.is_empty() || blamed.contains(&planned.agent)) {
        let (Some(from), Some(to)) = (plan.revisions.get(&planned.from), plan.revisions.get(&planned.to)) else {
            continue;
        };
        for (what, before, after) in differences(from, to) {
            found.entry((what, before, after)).or_default().push(&planned.agent);
        }
    }
    let mut table = Table::new(&["What", "Blue", "Green", "Agents"]);
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, agents)| std::cmp::Reverse(agents.len()));
    for ((what, before, after), agents) in found.into_iter().take(CHANGES_MAX) {
        table.rows.push(vec![Cell::text(what), Cell::text(before), Cell::text(after), Cell::text(names(&agents, 3))]);
    }
    table
}

fn differences(from: &Revision, to: &Revision) -> Vec<(&'static str, String, String)> {
    let mut found = Vec::new();
    let mut differ = |what, before: String, after: String| {
        if before != after {
            found.push((what, before, after));
        }
    };
    differ("revision", from.name.to_string(), to.name.to_string());
    differ("command", from.command.join(" "), to.command.join(" "));
    differ("model", from.model.to_string(), to.model.to_string());
    differ("serves HTTP", yes(from.http), yes(to.http));
    differ("boot time", from.boot.to_string(), to.boot.to_string());
    let names: BTreeSet<&String> = from.env.keys().chain(to.env.keys()).collect();
    for name in names {
        let (before, after) = match (from.env.get(name), to.env.get(name)) {
            (Some(_), Some(_)) => ("set", "set to something else"),
            (Some(_), None) => ("set", "not set"),
            (None, _) => ("not set", "set"),
        };
        if from.env.get(name) != to.env.get(name) {
            found.push(("variable", format!("{name} {before}"), format!("{name} {after}")));
        }
    }
    found
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}
