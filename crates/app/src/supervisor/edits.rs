//! Edits of the fleet file: which fleet a start serves, and what it means when a file changes while it is served.
//!
//! Nothing here touches what runs. A start takes the file, unless a rollout is under way that was planned for
//! another; and an edit is told, and waits for the next start.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bellwether_control::{
    Standing,
    edits::{EDIT, Edit, FleetEdit, SOURCES, Source, Sources},
    standing,
};
use bellwether_core::{
    diagnostic::chain,
    id::{AgentName, AgentType, RevisionId},
    spec::{Spec, differences, other_agents},
    time::UnixMillis,
};
use tokio_util::sync::CancellationToken;

use super::{failures, state::State};
use crate::{
    failure::Failure,
    files::{SourceFile, load_fleet_and_sources},
    wording::some,
};

const BEAT: Duration = Duration::from_secs(2);

/// A fleet file, and what a command line changes of what it says.
#[derive(Clone)]
pub(crate) struct FleetFile {
    pub(crate) path: PathBuf,
    /// Model server in place of the file's.
    pub(crate) ollama: Option<String>,
}

/// What a start serves.
pub(super) struct Served {
    pub(super) spec: Spec,
    /// As the file said it, or as it would have to say it, for nothing to differ.
    taken: Spec,
    sources: Vec<SourceFile>,
}

impl FleetFile {
    fn load(&self) -> Result<(Spec, Vec<SourceFile>), Failure> {
        let (spec, sources) = load_fleet_and_sources(&self.path)?;
        Ok((self.with_model_server(spec), sources))
    }

    fn with_model_server(&self, mut spec: Spec) -> Spec {
        if let Some(url) = &self.ollama {
            spec.ollama.url.clone_from(url);
        }
        spec
    }

    /// Before anything is made or locked: a file that cannot be read is refused where there is nothing to go on with.
    pub(super) fn read(&self, state: &Path) -> Result<Result<(Spec, Vec<SourceFile>), Failure>, Failure> {
        match self.load() {
            Err(failure) if !state.join(super::state::SPEC).exists() => Err(failure),
            loaded => Ok(loaded),
        }
    }

    /// Which fleet is served. The lock must be held, so that nobody writes the journal meanwhile.
    pub(super) fn settle(
        &self,
        loaded: Result<(Spec, Vec<SourceFile>), Failure>,
        state: &State,
    ) -> Result<Served, Failure> {
        let stored = match state.read_spec() {
            Ok(stored) => stored.map(|stored| self.with_model_server(stored)),
            // Of no use to anybody unless there is a rollout that was planned for it.
            Err(_unreadable) if matches!(look(state), Ok(None | Some(Standing { under_way: None, .. }))) => None,
            Err(failure) => return Err(failure),
        };
        let (spec, sources) = match (loaded, stored) {
            (Ok((spec, sources)), None) => return Ok(Served { taken: spec.clone(), spec, sources }),
            (Ok((spec, sources)), Some(stored)) if spec == stored => {
                return Ok(Served { taken: stored.clone(), spec: stored, sources });
            }
            (Ok(loaded), Some(stored)) => match look(state) {
                Ok(None) => loaded,
                Ok(Some(Standing { under_way: None, agents })) => {
                    let (mut spec, sources) = loaded;
                    let taken = spec.clone();
                    let held = agents.iter().map(|(name, (of, _))| (name.as_str(), of.as_str()));
                    let others = other_agents(held, types(&spec));
                    if !others.is_empty() {
                        return Err(failures::other_agents(&self.path, &others));
                    }
                    keep_what_runs(&mut spec, &stored, &agents);
                    return Ok(Served { spec, taken, sources });
                }
                Ok(Some(Standing { under_way: Some((rollout, stands)), .. })) => {
                    let name = self.path.display();
                    eprintln!(
                        "rollout {rollout} is {stands}: the fleet that it was planned for is served, and the edit of {name} \
                         waits until it is over"
                    );
                    return Ok(Served { taken: stored.clone(), spec: stored, sources: Vec::new() });
                }
                Err(why) => {
                    eprintln!(
                        "whether a rollout is under way cannot be told ({why}): the fleet that was served last is served \
                         again, and the edit of {} waits",
                        self.path.display()
                    );
                    return Ok(Served { taken: stored.clone(), spec: stored, sources: Vec::new() });
                }
            },
            (Err(failure), None) => return Err(failure),
            (Err(failure), Some(stored)) => match look(state) {
                Ok(Some(Standing { under_way: Some((rollout, stands)), .. })) => {
                    eprint!("{failure}");
                    eprintln!("rollout {rollout} is {stands}: the fleet that it was planned for is served");
                    return Ok(Served { taken: stored.clone(), spec: stored, sources: Vec::new() });
                }
                Ok(_) | Err(_) => return Err(failure),
            },
        };
        Ok(Served { taken: spec.clone(), spec, sources })
    }
}

fn types(spec: &Spec) -> impl Iterator<Item = (&str, &str)> {
    spec.agents.iter().map(|agent| (agent.name.as_str(), agent.agent_type.as_str()))
}

fn look(state: &State) -> Result<Option<Standing>, String> {
    standing(state.path()).map_err(|error| chain(&error))
}

/// Agents are moved to another revision by a rollout, with all that it checks, and not by a restart of `serve`. So an
/// agent keeps the revision that it runs, whatever the file says of it now.
fn keep_what_runs(spec: &mut Spec, stored: &Spec, runs: &BTreeMap<AgentName, (AgentType, RevisionId)>) {
    let mut kept = Vec::new();
    for agent in &mut spec.agents {
        let before = stored.agent(&agent.name).map(|before| &before.revision);
        let running = runs.get(&agent.name).map(|(_, revision)| revision);
        // One that a rollout brought is known from its plan.
        let Some(before) = before.filter(|before| Some(&before.id) == running && before.id != agent.revision.id) else {
            continue;
        };
        agent.revision = before.clone();
        kept.push(agent.name.to_string());
    }
    if !kept.is_empty() {
        eprintln!(
            "the file describes another revision than the one that runs of {}: what runs is kept; move it with a release \
             and `bellwether rollout start`",
            some(kept.iter().map(String::as_str), 4)
        );
    }
}

/// Watches the files of a served fleet until `stop`.
pub(super) async fn watch(file: FleetFile, served: Served, state: State, stop: CancellationToken) {
    let mut watch = Watch::new(file, served, state);
    loop {
        // Files are read on a thread of their own: this one parents the agents.
        let looked = tokio::task::spawn_blocking(move || {
            watch.look();
            watch
        });
        watch = match looked.await {
            Ok(watch) => watch,
            Err(error) => {
                tracing::error!(%error, "the fleet file is not watched any more");
                return;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = stop.cancelled() => return,
        }
    }
}

struct Watch {
    file: FleetFile,
    taken: Spec,
    state: State,
    /// Of every file that matters, as it was at the last look.
    seen: BTreeMap<PathBuf, Option<Stamp>>,
    /// The files were evaluated as they are now.
    settled: bool,
    told: Option<Edit>,
    /// The files that say what is served, as far as there are any.
    noted: Sources,
}

/// What changes whenever somebody writes or replaces a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    fn new(file: FleetFile, served: Served, state: State) -> Self {
        let Served { spec: _, taken, sources } = served;
        // A fleet that is none of the file's differs from it already.
        let settled = !sources.is_empty();
        let (seen, noted) = (BTreeMap::new(), Sources::default());
        let mut watch = Self { file, taken, state, seen, settled, told: None, noted };
        watch.note_sources(&sources);
        watch.note_edit(None);
        watch.follow(sources.into_iter().map(|source| source.path).collect());
        // An edit between the reading and here would be as if it had been there before.
        watch.settled &= watch.noted.are_as_they_were();
        watch
    }

    /// A file that is being written, or is away for a moment while it is replaced, has changed again at the next look:
    /// only what two looks find alike is evaluated.
    fn look(&mut self) {
        let now: BTreeMap<PathBuf, Option<Stamp>> = self.seen.keys().map(|path| (path.clone(), stamp(path))).collect();
        if now != self.seen {
            self.seen = now;
            self.settled = false;
            return;
        }
        if self.settled {
            return;
        }
        self.settled = true;
        match self.file.load() {
            Ok((spec, sources)) => {
                self.follow(sources.iter().map(|source| source.path.clone()).collect());
                if spec == self.taken {
                    self.note_sources(&sources);
                    self.say(None);
                } else {
                    let other_agents = !other_agents(types(&self.taken), types(&spec)).is_empty();
                    self.say(Some(Edit::Changed { differences: differences(&self.taken, &spec), other_agents }));
                }
            }
            Err(failure) => {
                let errors = failure.diagnostics.iter().map(ToString::to_string).chain(failure.told).collect();
                self.say(Some(Edit::Broken { errors }));
            }
        }
    }

    /// These files, and the fleet file in any case, are looked at from here on. Others stay: a list that an edit no
    /// longer names is still what the served fleet was read from.
    fn follow(&mut self, paths: Vec<PathBuf>) {
        for path in std::iter::once(self.file.path.clone()).chain(paths) {
            self.seen.entry(path.clone()).or_insert_with(|| stamp(&path));
        }
    }

    fn say(&mut self, edit: Option<Edit>) {
        if edit == self.told {
            return;
        }
        let file = self.file.path.display().to_string();
        let note = edit.clone().map(|edit| FleetEdit { file: file.clone(), at: now(), edit });
        match &note {
            Some(edit) => {
                eprintln!("{}", edit.sentence(None));
                if let Edit::Broken { errors } = &edit.edit {
                    errors.iter().for_each(|error| eprintln!("{error}"));
                }
                tracing::info!(edit = edit.sentence(None), "the fleet file was edited");
            }
            None => {
                eprintln!("{file} is what runs again");
                tracing::info!(file, "the fleet file is what runs again");
            }
        }
        self.note_edit(note.as_ref());
        self.told = edit;
    }

    fn note_sources(&mut self, sources: &[SourceFile]) {
        let files = sources.iter().filter_map(|source| {
            let path = source.path.canonicalize().inspect_err(|error| tracing::warn!(%error, "a file is gone")).ok()?;
            Some(Source::new(path, source.text.as_bytes()))
        });
        let sources = Sources { fleet: self.file.path.display().to_string(), files: files.collect() };
        told(self.state.replace(SOURCES, &sources));
        self.noted = sources;
    }

    fn note_edit(&self, edit: Option<&FleetEdit>) {
        match edit {
            Some(edit) => told(self.state.replace(EDIT, edit)),
            None => match fs::remove_file(self.state.path().join(EDIT)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(%error, "the note of an edit cannot be removed");
                }
                _ => {}
            },
        }
    }
}

/// A note that cannot be written keeps nobody from serving; a full disk is told by those that it stops.
fn told(written: Result<(), Failure>) {
    if let Err(failure) = written {
        tracing::error!(error = %failure.to_string().trim(), "a note about the fleet file cannot be written");
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let of = |data: Metadata| Stamp {
        device: data.dev(),
        inode: data.ino(),
        bytes: data.len(),
        modified: (data.mtime(), data.mtime_nsec()),
        changed: (data.ctime(), data.ctime_nsec()),
    };
    fs::metadata(path).ok().map(of)
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
