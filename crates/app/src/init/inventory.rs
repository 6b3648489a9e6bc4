//! A CSV file with one agent per row.

use std::collections::BTreeSet;

use super::agents::{Agent, Agents, plain_name};

/// What the fleet file knows in an inventory.
const COLUMNS: [&str; 7] = ["name", "type", "model", "phase", "critical", "memory_limit_mib", "cpu_limit"];

/// None if it is no inventory. One that the fleet file could not name as it is, is written out.
pub(super) fn read(file: &str, text: &str) -> Option<Agents> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let head: Vec<String> = reader.headers().ok()?.iter().map(str::to_owned).collect();
    head.iter().position(|name| name == "name")?;
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().ok()?;
    let mut names = BTreeSet::new();
    let mut as_it_is = head.iter().all(|column| COLUMNS.contains(&column.as_str()) || column.starts_with("x-"));
    let mut agents = Vec::new();
    for row in &rows {
        let value = |column: &str| {
            let at = head.iter().position(|name| name == column)?;
            row.get(at).filter(|value| !value.is_empty())
        };
        let given = value("name").unwrap_or_default();
        let name = plain_name(given);
        as_it_is &= row.len() == head.len() && name == given && names.insert(name.clone());
        if name.is_empty() || (!as_it_is && agents.iter().any(|agent: &Agent| agent.name == name)) {
            continue;
        }
        agents.push(Agent {
            name,
            agent_type: value("type").map(plain_name).filter(|word| !word.is_empty()),
            model: value("model").map(str::to_owned),
            phase: value("phase").and_then(|phase| phase.parse().ok()),
            critical: value("critical")
                .is_some_and(|flag| matches!(flag.to_ascii_lowercase().as_str(), "true" | "yes" | "1")),
            memory_mib: value("memory_limit_mib").and_then(|mib| mib.parse().ok()),
            ..Agent::default()
        });
    }
    if agents.is_empty() {
        return None;
    }
    if as_it_is {
        return Some(Agents::Inventory { file: file.to_owned(), agents });
    }
    Some(Agents::List { source: file.to_owned(), agents })
}
