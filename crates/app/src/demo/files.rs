//! The example fleet, carried in the binary, so that the demo needs no file beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

const FLEET: &str = include_str!("../../../../examples/sutazai/fleet.yaml");
const AGENTS: &str = include_str!("../../../../examples/sutazai/agents.csv");
const RELEASE: &str = include_str!("../../../../examples/sutazai/release-v2.yaml");

pub(crate) struct Files {
    pub(crate) directory: PathBuf,
    pub(crate) fleet: PathBuf,
    pub(crate) release: PathBuf,
    pub(crate) state: PathBuf,
    keep: bool,
}

impl Files {
    pub(crate) fn write(keep: bool) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("bellwether-demo-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map(|()| path)
        };
        write("agents.csv", AGENTS)?;
        Ok(Self {
            fleet: write("fleet.yaml", FLEET)?,
            release: write("release-v2.yaml", RELEASE)?,
            state: directory.join("state"),
            directory,
            keep,
        })
    }

    /// The state stays where it was asked to, and where something went wrong.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
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
