//! The state directory: made, recognised, never guessed at.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use bellwether_core::spec::Spec;
use serde::{Deserialize, Serialize};

use super::{failures, lock};
use crate::failure::Failure;

/// The fleet as it is served.
pub(super) const SPEC: &str = "spec.json";

/// Says that the directory is one of ours, and whose.
const MARK: &str = "bellwether.json";
const FORMAT: u32 = 1;

#[derive(Clone)]
pub(crate) struct State {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    format: u32,
    fleet: String,
}

impl State {
    /// Makes the directory where there is none. One that holds anything else is left alone.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let unusable = |error: io::Error| {
            failures::state(path, error, "choose another directory with --state, or make this one yours")
        };
        if path.is_file() {
            return Err(failures::state(
                path,
                "it is a file",
                "name a directory with --state; it is made where there is none",
            ));
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700))).map_err(unusable)?;
        let state = Self { path: path.canonicalize().map_err(unusable)? };
        if !state.is_ours().map_err(unusable)? {
            let why = "it holds files of something else";
            return Err(failures::state(path, why, "choose an empty or a new directory with --state"));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(state.path.join("logs")).map_err(unusable)?;
        Ok(state)
    }

    /// Checks the mark, or sets it. The lock must be held.
    pub(crate) fn claim(&self, fleet: &str) -> Result<(), Failure> {
        let path = self.path.join(MARK);
        let refuse = |why: String, help: &str| Err(failures::state(&self.path, why, help));
        match fs::read(&path) {
            Ok(text) => match serde_json::from_slice::<Mark>(&text) {
                Ok(Mark { format, .. }) if format != FORMAT => refuse(
                    format!("it has format {format}, and this build knows {FORMAT}"),
                    "use the build that wrote it",
                ),
                Ok(mark) if mark.fleet != fleet => refuse(
                    format!("it belongs to the fleet {:?}, and the file declares {fleet:?}", mark.fleet),
                    "name the right fleet file, or give this fleet a state directory of its own with --state",
                ),
                Ok(_ours) => Ok(()),
                Err(error) => refuse(
                    format!("{} cannot be read: {error}", path.display()),
                    "nothing was changed; restore the directory from a backup, or choose another one with --state",
                ),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mark = Mark { format: FORMAT, fleet: fleet.to_owned() };
                self.replace(MARK, &mark)
            }
            Err(error) => refuse(format!("{}: {error}", path.display()), "check who owns the directory"),
        }
    }

    /// One that is there, untouched.
    pub(crate) fn open_if_there(path: &Path) -> Option<Self> {
        path.join(MARK).exists().then(|| Self { path: path.to_owned() })
    }

    /// Whose it is, where it is somebody's.
    pub(crate) fn fleet(&self) -> Option<String> {
        let text = fs::read(self.path.join(MARK)).ok()?;
        serde_json::from_slice::<Mark>(&text).ok().map(|mark| mark.fleet)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    pub(super) fn write_spec(&self, spec: &Spec) -> Result<(), Failure> {
        self.replace(SPEC, spec)
    }

    /// The fleet that was served last, if any was.
    pub(super) fn read_spec(&self) -> Result<Option<Spec>, Failure> {
        let path = self.path.join(SPEC);
        let help = "nothing was changed; restore the file from a backup, or remove it if no rollout is under way";
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| failures::state(&self.path, format!("{}: {error}", path.display()), help)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failures::state(&self.path, format!("{}: {error}", path.display()), help)),
        }
    }

    /// The path of a socket that nobody listens on: one of an earlier supervisor is removed.
    pub(super) fn fresh_socket(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failures::socket(&path, &error)),
            _ => Ok(path),
        }
    }

    /// Ours are marked. One that was being set up when the power went has a lock and no mark; one that was only checked
    /// has a backup.
    fn is_ours(&self) -> io::Result<bool> {
        let names: Vec<_> = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
        let partial = format!("{MARK}.partial");
        let of_setting_up = [lock::FILE, "logs", "backup", &partial];
        Ok(names.iter().any(|name| name == MARK)
            || names.iter().all(|name| of_setting_up.iter().any(|own| name == own)))
    }

    /// As a whole or not at all, also if the power goes.
    pub(super) fn replace(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let (path, partial) = (self.path.join(name), self.path.join(format!("{name}.partial")));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(&serde_json::to_vec_pretty(value)?)?;
            file.sync_all()?;
            fs::rename(&partial, &path)
        };
        let why = |error: io::Error| format!("{}: {error}", path.display());
        write()
            .map_err(|error| failures::state(&self.path, why(error), "check the free space and who owns the directory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("bw-state-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_new_directory_is_private_and_known_again() {
        let directory = Directory::new("new");
        State::open(&directory.0).unwrap().claim("sutazai").unwrap();
        assert_eq!(fs::metadata(&directory.0).unwrap().permissions().mode() & 0o777, 0o700);
        let again = State::open(&directory.0).unwrap();
        again.claim("sutazai").unwrap();
        let text = again.claim("other").unwrap_err().to_string();
        assert!(text.contains("BW0303") && text.contains(r#"belongs to the fleet "sutazai""#), "{text}");
    }

    #[test]
    fn a_directory_of_something_else_is_left_alone() {
        let directory = Directory::new("foreign");
        fs::create_dir_all(&directory.0).unwrap();
        fs::write(directory.0.join("thesis.tex"), "").unwrap();
        let text = State::open(&directory.0).err().unwrap().to_string();
        assert!(text.contains("BW0303") && text.contains("files of something else"), "{text}");
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
    }

    #[test]
    fn a_mark_that_cannot_be_read_stops_it() {
        let directory = Directory::new("broken");
        State::open(&directory.0).unwrap().claim("sutazai").unwrap();
        fs::write(directory.0.join(MARK), "{").unwrap();
        let text = State::open(&directory.0).unwrap().claim("sutazai").unwrap_err().to_string();
        assert!(text.contains("BW0303") && text.contains("cannot be read"), "{text}");
        assert_eq!(fs::read_to_string(directory.0.join(MARK)).unwrap(), "{");
    }
}
