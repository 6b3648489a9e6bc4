//! A scenario's files in a directory of their own, so that the demo needs no file beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bellwether_core::id::RolloutId;

use super::scenario::Scenario;

pub(crate) struct Files {
    pub(crate) directory: PathBuf,
    pub(crate) fleet: PathBuf,
    pub(crate) release: PathBuf,
    pub(crate) state: PathBuf,
    /// Times of the simulated model server, if the scenario has its own.
    pub(crate) model_times: Option<PathBuf>,
    keep: bool,
}

fn directory() -> PathBuf {
    std::env::temp_dir().join(format!("bellwether-demo-{}", std::process::id()))
}

/// Once this is there, a revision with a fault in it is bad.
pub(super) fn fault_from() -> PathBuf {
    directory().join("faulty")
}

impl Files {
    pub(super) fn write(scenario: &Scenario, keep: bool) -> io::Result<Self> {
        let directory = directory();
        fs::create_dir_all(&directory)?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map(|()| path)
        };
        write("agents.csv", &scenario.agents)?;
        Ok(Self {
            fleet: write("fleet.yaml", &scenario.fleet)?,
            release: write("release-v2.yaml", &scenario.release)?,
            model_times: scenario.model_times.as_ref().map(|text| write("model-times.json", text)).transpose()?,
            state: directory.join("state"),
            directory,
            keep,
        })
    }

    /// The state stays where it was asked to, and where something went wrong.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }

    /// Where the evidence of a rollback stays when all else is removed; none if there is none.
    pub(crate) fn save_evidence(&self, rollout: RolloutId) -> io::Result<Option<PathBuf>> {
        let evidence = self.state.join("evidence").join(format!("rollout-{rollout}"));
        if self.keep {
            return Ok(evidence.is_dir().then_some(evidence));
        }
        let saved = self.directory.with_file_name(format!("bellwether-demo-{}-evidence", std::process::id()));
        match fs::rename(evidence, &saved) {
            Ok(()) => Ok(Some(saved)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("state and logs are kept in {}", self.directory.display());
        } else if let Err(error) = remove(&self.directory) {
            eprintln!("{} could not be removed: {error}", self.directory.display());
        }
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
