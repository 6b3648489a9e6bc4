//! A folder on disk that is there as a whole or not at all, and the bound on how many there are.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// Bundles that are kept; older ones go when one is written.
pub(super) const KEPT: usize = 20;
const PARTIAL: &str = ".partial";

pub(super) struct File {
    /// Relative to the folder.
    pub(super) name: String,
    /// For the page: what is in it.
    pub(super) about: String,
    pub(super) bytes: Vec<u8>,
}

/// Writes everything beside `folder` and puts it in its place in one step. Names the path that failed.
pub(super) fn put(folder: &Path, files: &[File]) -> Result<(), (PathBuf, io::Error)> {
    let Some(evidence) = folder.parent() else { return Err((folder.to_owned(), ErrorKind::InvalidInput.into())) };
    directory(evidence)?;
    remove_leftovers(evidence)?;
    let mut name = folder.as_os_str().to_owned();
    name.push(PARTIAL);
    let partial = PathBuf::from(name);
    directory(&partial)?;
    for file in files {
        write(&partial, file)?;
    }
    exchange(&partial, folder).map_err(|error| (folder.to_owned(), error))?;
    forget_oldest(evidence, folder)
}

fn directory(path: &Path) -> Result<(), (PathBuf, io::Error)> {
    // Logs and samples are nobody's business but the operator's.
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| (path.to_owned(), error))
}

fn write(folder: &Path, file: &File) -> Result<(), (PathBuf, io::Error)> {
    let path = folder.join(&file.name);
    if let Some(parent) = path.parent() {
        directory(parent)?;
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = opened.and_then(|mut out| {
        out.write_all(&file.bytes)?;
        // Else a power cut could leave the folder in place and its files empty.
        out.sync_all()
    });
    written.map_err(|error| (path, error))
}

/// Afterwards `folder` is what `partial` was, and nothing is left of what it was before.
fn exchange(partial: &Path, folder: &Path) -> io::Result<()> {
    match renameat_with(CWD, partial, CWD, folder, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_dir_all(partial),
        Err(Errno::NOENT) => fs::rename(partial, folder),
        // The file system cannot exchange.
        Err(Errno::INVAL | Errno::NOSYS) => {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            fs::rename(partial, folder)
        }
        Err(error) => Err(error.into()),
    }
}

/// Of a controller that ended while it wrote.
fn remove_leftovers(evidence: &Path) -> Result<(), (PathBuf, io::Error)> {
    for path in children(evidence)? {
        if path.to_string_lossy().ends_with(PARTIAL) {
            fs::remove_dir_all(&path).map_err(|error| (path, error))?;
        }
    }
    Ok(())
}

fn forget_oldest(evidence: &Path, newest: &Path) -> Result<(), (PathBuf, io::Error)> {
    let mut bundles: Vec<(SystemTime, PathBuf)> = Vec::new();
    for path in children(evidence)? {
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rollout-"));
        let meta = fs::symlink_metadata(&path).and_then(|meta| Ok((meta.is_dir(), meta.modified()?)));
        let (is_directory, written) = meta.map_err(|error| (path.clone(), error))?;
        if ours && is_directory && path != newest {
            bundles.push((written, path));
        }
    }
    bundles.sort();
    let surplus = (bundles.len() + 1).saturating_sub(KEPT);
    for (_, path) in bundles.drain(..surplus) {
        fs::remove_dir_all(&path).map_err(|error| (path, error))?;
    }
    Ok(())
}

fn children(directory: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let listed = fs::read_dir(directory).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(|error| (directory.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("bw-bundle-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        dir
    }

    fn file(name: &str, text: &str) -> File {
        File { name: name.into(), about: String::new(), bytes: text.into() }
    }

    #[test]
    fn the_second_takes_the_place_of_the_first_and_of_all_its_files() {
        let evidence = scratch("second");
        let folder = evidence.join("rollout-1");
        put(&folder, &[file("a", "1"), file("logs/x.log", "1")]).unwrap();
        put(&folder, &[file("a", "2")]).unwrap();
        assert_eq!(fs::read_to_string(folder.join("a")).unwrap(), "2");
        assert!(!folder.join("logs").exists());
        assert_eq!(children(&evidence).unwrap(), [folder]);
        fs::remove_dir_all(evidence).unwrap();
    }

    #[test]
    fn half_a_folder_is_not_seen_and_goes_with_the_next() {
        let evidence = scratch("half");
        let folder = evidence.join("rollout-1");
        assert!(put(&folder, &[file("a", "1"), file("a", "again")]).is_err());
        assert!(!folder.exists());
        put(&folder, &[file("a", "1")]).unwrap();
        assert_eq!(children(&evidence).unwrap(), [folder]);
        fs::remove_dir_all(evidence).unwrap();
    }

    #[test]
    fn the_oldest_go_and_what_is_not_ours_stays() {
        let evidence = scratch("oldest");
        fs::create_dir_all(evidence.join("notes")).unwrap();
        for number in 1..=KEPT + 2 {
            let folder = evidence.join(format!("rollout-{number}"));
            put(&folder, &[file("a", "1")]).unwrap();
            let written = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            fs::File::open(folder).unwrap().set_modified(written).unwrap();
        }
        // A number that begins anew is the newest all the same.
        put(&evidence.join("rollout-1"), &[file("a", "1")]).unwrap();
        assert_eq!(children(&evidence).unwrap().len(), KEPT + 1);
        assert!(evidence.join("notes").exists() && evidence.join("rollout-1").exists());
        assert!(!evidence.join("rollout-3").exists() && evidence.join("rollout-4").exists());
        fs::remove_dir_all(evidence).unwrap();
    }
}
