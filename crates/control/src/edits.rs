//! The files that a fleet was read from, and what became of them since.
//!
//! The supervisor reads and watches them, and leaves two notes in the state directory: which files they were, with a
//! digest of each, and what an edit means. The controller only reads these: it answers people, and starts no rollout
//! for a fleet that is not the one in the file before them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bellwether_core::{diagnostic::Diagnostic, id::RolloutId, time::UnixMillis};
use serde::{Deserialize, Serialize};

/// In the state directory.
pub const SOURCES: &str = "sources.json";
pub const EDIT: &str = "edit.json";

/// What a served fleet was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// The fleet file, as messages name it.
    pub fleet: String,
    /// Every file that went into it, as it was. Empty where the fleet that is served is none that a file holds.
    pub files: Vec<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub path: PathBuf,
    pub digest: String,
}

/// An edit that is not taken yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetEdit {
    /// The fleet file, as messages name it.
    pub file: String,
    /// When it was noticed.
    pub at: UnixMillis,
    #[serde(flatten)]
    pub edit: Edit,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub enum Edit {
    /// It can be read, and means another fleet: what differs, a sentence each.
    Changed {
        differences: Vec<String>,
        /// Agents came, went or changed their type, so that a start will refuse it.
        #[serde(default)]
        other_agents: bool,
    },
    /// It cannot be read, and why, as a terminal shows it.
    Broken { errors: Vec<String> },
}

impl Source {
    pub fn new(path: PathBuf, text: &[u8]) -> Self {
        Self { path, digest: digest(text) }
    }
}

impl Sources {
    /// Whether every file is as it was.
    pub fn are_as_they_were(&self) -> bool {
        let same = |source: &Source| fs::read(&source.path).is_ok_and(|text| digest(&text) == source.digest);
        !self.files.is_empty() && self.files.iter().all(same)
    }
}

impl FleetEdit {
    /// What happened and what follows, in one sentence. `rollout` is the one that is under way.
    pub fn sentence(&self, rollout: Option<RolloutId>) -> String {
        let Self { file, at, edit } = self;
        let at = clock(*at);
        match edit {
            Edit::Changed { differences, other_agents } => {
                let what = if differences.is_empty() { "it".to_owned() } else { differences.join("; ") };
                let then = match (other_agents, rollout) {
                    (true, _) => {
                        "the next start of `serve` will refuse it, as agents cannot be added or taken out".to_owned()
                    }
                    (false, Some(rollout)) => {
                        format!(
                            "it takes effect at the next start of `serve`, and not before rollout {rollout} is over"
                        )
                    }
                    (false, None) => "it takes effect at the next start of `serve`".to_owned(),
                };
                format!("{file} changed at {at}: {what}; {then}")
            }
            Edit::Broken { errors } => {
                let first = errors.first().map_or("", |error| error.lines().next().unwrap_or_default());
                let more = match errors.len() {
                    0 | 1 => String::new(),
                    n => format!(" and {} more", n - 1),
                };
                format!("{file} cannot be read since {at}: {first}{more}; what runs is not touched")
            }
        }
    }
}

/// What the supervisor noted of an edit, if there is one.
pub(crate) fn noted(state: &Path) -> Option<FleetEdit> {
    match fs::read(state.join(EDIT)) {
        Ok(text) => serde_json::from_slice(&text)
            .inspect_err(|error| tracing::warn!(%error, "the note of an edit cannot be read"))
            .ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%error, "the note of an edit cannot be read");
            None
        }
    }
}

/// Refuses to begin anything while the file is another than the fleet that runs. Looks at the files themselves: the
/// supervisor may not have seen the last edit yet. Without a note of the files there is nothing to compare with.
pub(crate) fn taken(state: &Path, rollout: Option<RolloutId>) -> Result<(), Diagnostic> {
    let sources = fs::read(state.join(SOURCES)).ok().and_then(|text| serde_json::from_slice::<Sources>(&text).ok());
    let Some(sources) = sources.filter(|sources| !sources.are_as_they_were()) else { return Ok(()) };
    let why = match noted(state) {
        Some(edit) => edit.sentence(rollout),
        None => "it was changed a moment ago".to_owned(),
    };
    Err(Diagnostic::new("BW0420", format!("{} is not the fleet that runs", sources.fleet)).because(why).help(
        "start `serve` again to have it taken, put the file back, or add --with-running-fleet to move the fleet that runs",
    ))
}

fn digest(text: &[u8]) -> String {
    blake3::hash(text).to_hex().to_string()
}

fn clock(at: UnixMillis) -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX));
    at.map_or_else(|_| "an unknown time".to_owned(), |at| at.strftime("%H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 14:03:05 UTC.
    const AT: UnixMillis = UnixMillis(1_795_442_585_000);

    fn edit(edit: Edit) -> FleetEdit {
        FleetEdit { file: "fleet.yaml".into(), at: AT, edit }
    }

    #[test]
    fn an_edit_says_what_differs_and_when_it_counts() {
        let changed = |differences: &[&str], other_agents| {
            let differences = differences.iter().map(|&one| one.to_owned()).collect();
            edit(Edit::Changed { differences, other_agents })
        };
        let broken = Edit::Broken { errors: vec!["error[BW0101]: it is no YAML\n  --> a:1".into(), "error: b".into()] };
        let told = [
            changed(&["2 agents differ in env (a, b)"], false).sentence(Some(RolloutId(3))),
            changed(&["host differs in memory"], false).sentence(None),
            changed(&["1 agent is new (c)", "rollout differs in phases"], true).sentence(Some(RolloutId(3))),
            edit(broken).sentence(None),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        fleet.yaml changed at 14:03:05 UTC: 2 agents differ in env (a, b); it takes effect at the next start of `serve`, and not before rollout 3 is over
        fleet.yaml changed at 14:03:05 UTC: host differs in memory; it takes effect at the next start of `serve`
        fleet.yaml changed at 14:03:05 UTC: 1 agent is new (c); rollout differs in phases; the next start of `serve` will refuse it, as agents cannot be added or taken out
        fleet.yaml cannot be read since 14:03:05 UTC: error[BW0101]: it is no YAML and 1 more; what runs is not touched
        ");
    }

    #[test]
    fn a_start_is_refused_from_the_moment_of_the_edit_until_it_is_undone() {
        let state = std::env::temp_dir().join(format!("bw-edits-{}", std::process::id()));
        fs::create_dir_all(&state).unwrap();
        let file = state.join("fleet.yaml");
        let write = |text: &str| fs::write(&file, text).unwrap();
        write("one");
        assert_eq!(taken(&state, None), Ok(()), "nothing is known of any file");
        let sources = Sources { fleet: "fleet.yaml".into(), files: vec![Source::new(file.clone(), b"one")] };
        fs::write(state.join(SOURCES), serde_json::to_vec(&sources).unwrap()).unwrap();
        assert_eq!(taken(&state, None), Ok(()));
        write("two");
        let refused = taken(&state, None).unwrap_err();
        assert_eq!((refused.code, refused.cause.as_deref()), ("BW0420", Some("it was changed a moment ago")));
        let noted = edit(Edit::Changed { differences: vec!["host differs".into()], other_agents: false });
        fs::write(state.join(EDIT), serde_json::to_vec(&noted).unwrap()).unwrap();
        assert!(taken(&state, None).unwrap_err().cause.unwrap().contains("host differs"));
        fs::remove_file(&file).unwrap();
        assert!(taken(&state, None).is_err(), "a file that is gone is not what runs");
        write("one");
        assert_eq!(taken(&state, None), Ok(()), "it is what runs again");
        fs::remove_dir_all(&state).unwrap();
    }
}
