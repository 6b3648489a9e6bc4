//! The program that a child runs, held open: what is installed over it meanwhile is not run unasked.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    file: Arc<File>,
}

impl Program {
    /// The one that this process runs. Its path may lead to another by now, or nowhere.
    pub(super) fn own() -> io::Result<Self> {
        let file = Arc::new(File::open("/proc/self/exe")?);
        Ok(Self { path: std::env::current_exe()?, file })
    }

    pub(super) fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: Arc::new(File::open(path)?) })
    }

    /// A path that leads to this very file: its own, and where that leads elsewhere the one that the system keeps for
    /// files that are open.
    pub(super) fn executable(&self) -> PathBuf {
        let is_same = |found: fs::Metadata| {
            self.file.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (found.dev(), found.ino()))
        };
        if fs::metadata(&self.path).is_ok_and(is_same) {
            return self.path.clone();
        }
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    fn says(program: &Program) -> String {
        let said = Command::new(program.executable()).output().unwrap();
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn what_is_installed_over_it_is_not_run_and_neither_is_it_lost() {
        let directory = std::env::temp_dir().join(format!("bw-program-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("program");
        // Programs of the system that say who they are.
        let install = |from: &str| {
            let partial = directory.join("partial");
            fs::copy(from, &partial).unwrap();
            fs::set_permissions(&partial, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(&partial, &path).unwrap();
        };
        install("/bin/pwd");
        let program = Program::at(&path).unwrap();
        assert_eq!(program.executable(), path);
        let expected = std::env::current_dir().unwrap().display().to_string();
        assert_eq!(says(&program), expected);
        install("/bin/true");
        assert_ne!(program.executable(), path);
        assert_eq!(says(&program), expected, "replaced");
        fs::remove_file(&path).unwrap();
        assert_eq!(says(&program), expected, "removed");
        fs::remove_dir_all(&directory).unwrap();
    }
}
