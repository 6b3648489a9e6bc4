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
    words::{mib, names, plural, ratio, real, share, span},
};

const AGENTS_MAX: usize = 20;
const TYPES_MAX: usize = 12;
const CHANGES_MAX: usize = 6;

pub(super) fn blocks(facts: &Facts) -> Vec<Block> {
    let spans = Spans::of(facts);
    let mut blocks = vec![Block::Text(introduction(facts))];
    if !facts.blame.agents.is_empty() {
        blocks.push(Block::Table(agents(facts, &spans)));
    }
    let types = types(facts, &spans);
    if !types.rows.is_empty() {
        blocks.push(Block::Text("Errors by type; a type of which green had no work is left out:".to_owned()));
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

type Sums = BTreeMap<AgentName, AgentSum>;

/// The last minutes up to the decision, in two parts: the harm shows in the second, and what was usual in the first.
struct Spans {
    usual: Sums,
    harmed: Option<Sums>,
}

impl Spans {
    fn of(facts: &Facts) -> Self {
        let sums = |from, until| tally::by_agent(&facts.seconds, &facts.beats, from, until);
        let began = facts.record.began;
        match facts.record.harm_began.filter(|&harm| harm < began) {
            None => Self { usual: sums(UnixMillis(0), began), harmed: None },
            // The record of the second in which it began is of the harm.
            Some(harm) => Self { usual: sums(UnixMillis(0), UnixMillis(harm.0 - 1)), harmed: Some(sums(harm, began)) },
        }
    }

    /// The later part, where there are two.
    fn last(&self) -> &Sums {
        self.harmed.as_ref().unwrap_or(&self.usual)
    }
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

fn agents(facts: &Facts, spans: &Spans) -> Table {
    let mut table = if spans.harmed.is_some() {
        Table::new(&[
            "Agent",
            "Type",
            "Traffic now",
            "Green's errors since",
            "Green's before",
            "Blue's",
            "Green's p95",
            "Its memory",
            "Calls failed",
            "Ended by itself",
        ])
    } else {
        Table::new(&[
            "Agent",
            "Type",
            "Traffic now",
            "Green's errors",
            "Blue's",
            "Green's p95",
            "Its memory",
            "Calls failed",
            "Ended by itself",
        ])
    };
    let views: BTreeMap<&AgentName, &AgentView> = facts.agents.iter().map(|view| (&view.name, view)).collect();
    let exits = exits(facts);
    let none = AgentSum::default();
    for name in facts.blame.agents.iter().take(AGENTS_MAX) {
        let usual = spans.usual.get(name).unwrap_or(&none);
        let last = spans.last().get(name).unwrap_or(&none);
        let view = views.get(name);
        let traffic = match view.and_then(|view| view.serving) {
            Some(Side::Blue) => Cell::text("blue"),
            Some(Side::Green) => Cell::toned("green", Tone::Bad),
            None => Cell::toned("none", Tone::Bad),
        };
        let mut row =
            vec![Cell::text(name.as_str()), Cell::text(view.map_or("?", |view| view.agent_type.as_str())), traffic];
        row.push(bad_if(last.sides.green.errors > 0, share(last.sides.green.errors, last.sides.green.outcomes)));
        if spans.harmed.is_some() {
            row.push(Cell::number(share(usual.sides.green.errors, usual.sides.green.outcomes)));
        }
        row.push(Cell::number(share(usual.sides.blue.errors, usual.sides.blue.outcomes)));
        let exits = exits.get(name).copied().unwrap_or(0);
        row.extend([
            Cell::number(beside(p95(&last.sides.green), p95(&usual.sides.blue))),
            Cell::number(beside(memory(last.memory_peak.green), memory(usual.memory_peak.blue))),
            Cell::number(share(last.sides.green.calls_failed, last.sides.green.calls)),
            bad_if(exits > 0, exits.to_string()),
        ]);
        table.rows.push(row);
    }
    table
}

fn bad_if(bad: bool, text: String) -> Cell {
    Cell::number(text).with(if bad { Tone::Bad } else { Tone::Plain })
}

/// Green's figure with blue's of the same agent behind it.
fn beside(green: Option<String>, blue: Option<String>) -> String {
    match (green, blue) {
        (None, None) => "–".to_owned(),
        (None, Some(blue)) => format!("– (blue {blue})"),
        (Some(green), None) => green,
        (Some(green), Some(blue)) => format!("{green} (blue {blue})"),
    }
}

fn p95(tally: &Tally) -> Option<String> {
    tally.own_time.quantile(0.95).map(span)
}

fn memory(bytes: u64) -> Option<String> {
    (bytes > 0).then(|| mib(real(bytes)))
}

/// How often instances of an agent ended by themselves since the phase began, of either side.
fn exits(facts: &Facts) -> BTreeMap<&AgentName, u64> {
    let mut exits = BTreeMap::new();
    for entry in &facts.slice.entries {
        if let Event::Exited { instance, exit } = &entry.event
            && !exit.asked
            && let Some(member) = facts.roster.get(instance)
        {
            *exits.entry(&member.agent).or_default() += 1;
        }
    }
    exits
}

fn types(facts: &Facts, spans: &Spans) -> Table {
    let type_of: BTreeMap<&AgentName, &AgentType> =
        facts.agents.iter().map(|view| (&view.name, &view.agent_type)).collect();
    let by_type = |sums: &Sums| {
        let mut types: BTreeMap<AgentType, Sides<Count>> = BTreeMap::new();
        for (name, sum) in sums {
            let Some(agent_type) = type_of.get(name) else { continue };
            let counts = types.entry((*agent_type).clone()).or_default();
            counts.blue.add(&sum.sides.blue);
            counts.green.add(&sum.sides.green);
        }
        types
    };
    let (usual, last) = (by_type(&spans.usual), by_type(spans.last()));
    let none = Sides::default();
    let mut ranked: Vec<_> = last.iter().filter(|(_, counts)| counts.green.outcomes > 0).collect();
    ranked.sort_by(|(a, x), (b, y)| y.green.rate().total_cmp(&x.green.rate()).then_with(|| a.cmp(b)));
    let mut table = match spans.harmed {
        Some(_) => Table::new(&["Type", "Green's errors since the harm began", "Green's before", "Blue's before"]),
        None => Table::new(&["Type", "Green's errors", "Blue's errors"]),
    };
    for (agent_type, counts) in ranked.into_iter().take(TYPES_MAX) {
        let usual = usual.get(agent_type).unwrap_or(&none);
        let mut row = vec![Cell::text(agent_type.as_str()), bad_if(counts.green.errors > 0, counts.green.share())];
        if spans.harmed.is_some() {
            row.push(Cell::number(usual.green.share()));
        }
        row.push(Cell::number(usual.blue.share()));
        table.rows.push(row);
    }
    table
}

#[derive(Clone, Copy, Default)]
struct Count {
    errors: u64,
    outcomes: u64,
}

impl Count {
    fn add(&mut self, tally: &Tally) {
        self.errors += tally.errors;
        self.outcomes += tally.outcomes;
    }

    fn rate(self) -> f64 {
        ratio(self.errors, self.outcomes)
    }

    fn share(self) -> String {
        share(self.errors, self.outcomes)
    }
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
