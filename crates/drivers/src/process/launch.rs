//! Starts one instance's first process.
//!
//! The child gets the variables of its launch, `PATH`, `HOME` and `LANG` of this process where the launch
//! has none, and the mark by which the driver knows its own. It leads a process group, reads nothing, writes
//! to its log, and inherits no descriptor. Nothing here needs code between fork and exec, so the standard
//! library can use `posix_spawn`, which stays fast however large this process is.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bellwether_core::{id::InstanceId, port::driver::Launch};

/// The variable that marks all processes of an instance, wherever they hide: `STATE#INSTANCE`.
pub(super) const MARK: &str = "BELLWETHER_DRIVER_MARK";

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("its command is empty")]
    Empty,
    #[error("its command {0:?} was not found in PATH")]
    NotFound(String),
    #[error("cannot open its log {}: {source}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("cannot start {}: {source}", program.display())]
    Spawn { program: PathBuf, source: io::Error },
}

/// Where and as whom to start.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    /// What the first word `bellwether` of a command stands for.
    pub(super) bellwether: PathBuf,
    pub(super) logs: PathBuf,
    /// The state directory's name in [`MARK`].
    pub(super) owner: String,
}

impl Launcher {
    pub(super) fn mark(&self, instance: InstanceId) -> String {
        format!("{}#{instance}", self.owner)
    }

    pub(super) fn log(&self, instance: InstanceId, agent: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let agent: String = agent.chars().map(plain).collect();
        self.logs.join(format!("{agent}.{instance}.log"))
    }

    /// The process number of the running child.
    pub(super) fn start(&self, instance: InstanceId, launch: &Launch) -> Result<u32, Error> {
        let (word, arguments) = launch.argv.split_first().ok_or(Error::Empty)?;
        let inherited = ["PATH", "HOME", "LANG"].into_iter().filter(|name| !launch.env.contains_key(*name));
        let inherited: Vec<(&str, OsString)> =
            inherited.filter_map(|name| Some((name, std::env::var_os(name)?))).collect();
        let path = launch.env.get("PATH").map(OsString::from);
        let path = path.or_else(|| inherited.iter().find(|(name, _)| *name == "PATH").map(|(_, path)| path.clone()));
        let program = self.program(word, path.as_deref())?;

        let log = self.open_log(instance, launch.agent.as_str())?;
        let mut command = Command::new(&program);
        command
            .arg0(word)
            .args(arguments)
            .env_clear()
            .envs(inherited)
            .envs(&launch.env)
            .env(MARK, self.mark(instance))
            .stdin(Stdio::null())
            .stdout(log.0)
            .stderr(log.1)
            .process_group(0);
        // The handle is let go: the child is waited for through its descriptor.
        command.spawn().map(|child| child.id()).map_err(|source| Error::Spawn { program, source })
    }

    fn program(&self, word: &str, path: Option<&OsStr>) -> Result<PathBuf, Error> {
        if word == "bellwether" {
            return Ok(self.bellwether.clone());
        }
        if word.contains('/') {
            return Ok(word.into());
        }
        std::env::split_paths(path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin")))
            .map(|directory| directory.join(word))
            .find(|candidate| is_executable(candidate))
            .ok_or_else(|| Error::NotFound(word.to_owned()))
    }

    fn open_log(&self, instance: InstanceId, agent: &str) -> Result<(File, File), Error> {
        let path = self.log(instance, agent);
        // Appending keeps both streams whole, and lets the driver cut the file while it is written to.
        let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        opened.and_then(|file| Ok((file.try_clone()?, file))).map_err(|source| Error::Log { path, source })
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
