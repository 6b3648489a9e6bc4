//! Which agents there are, wherever that is written down.

use std::{fs, path::Path};

use super::{compose, inventory};
use crate::wording::counted;

#[derive(Clone, Debug)]
pub(super) enum Agents {
    /// A CSV file that the fleet file can name as it is.
    Inventory {
        file: String,
        agents: Vec<Agent>,
    },
    /// Written out one by one; the text says from where.
    List {
        source: String,
        agents: Vec<Agent>,
    },
    Nothing,
}

/// What is known of one agent. Absent means: the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Agent {
    pub(super) name: String,
    pub(super) agent_type: Option<String>,
    pub(super) model: Option<String>,
    pub(super) phase: Option<u32>,
    pub(super) critical: bool,
    pub(super) memory_mib: Option<u64>,
    pub(super) command: Option<Vec<String>>,
    pub(super) env: Vec<(String, String)>,
    /// What a person should know about it.
    pub(super) notes: Vec<String>,
}

/// Files larger than this are no inventory that somebody wrote.
const FILE_MAX_BYTES: u64 = 4 << 20;

impl Agents {
    /// An inventory goes before a compose file: it was written to say which agents there are.
    pub(super) fn look(folder: &Path) -> Self {
        let mut files = names(folder);
        // What is called an inventory first, then in the order of names.
        files.sort_by_key(|name| (!matches!(name.as_str(), "agents.csv" | "inventory.csv"), name.clone()));
        for file in files.iter().filter(|name| name.ends_with(".csv")) {
            if let Some(found) = read(folder, file).and_then(|text| inventory::read(file, &text)) {
                return found;
            }
        }
        let is_compose = |name: &&String| {
            let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or_default();
            stem.starts_with("docker-compose") || stem == "compose" || stem.starts_with("compose.")
        };
        for file in files.iter().filter(is_compose) {
            let agents = read(folder, file).map(|text| compose::read(&text)).unwrap_or_default();
            if !agents.is_empty() {
                return Self::List { source: file.clone(), agents };
            }
        }
        Self::Nothing
    }

    pub(super) fn told(&self) -> String {
        match self {
            Self::Inventory { file, agents } => format!("{} in {file}", counted(agents.len(), "agent", "agents")),
            Self::List { source, agents } => {
                format!("{} in {source}, written out", counted(agents.len(), "agent", "agents"))
            }
            Self::Nothing => {
                "no agents: neither a CSV file with a column \"name\" nor a compose file with agents; the file \
                              holds an example"
                    .to_owned()
            }
        }
    }
}

/// As an agent may be called: part of a URL.
pub(super) fn plain_name(name: &str) -> String {
    let plain =
        |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.trim().chars().map(plain).take(100).collect();
    name.trim_matches(['.', '_', '-']).to_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let small =
        entries.filter(|entry| entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() < FILE_MAX_BYTES));
    small.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// What is not text is no inventory.
fn read(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}
