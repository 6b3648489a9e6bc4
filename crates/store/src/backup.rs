//! A backup is a folder: copies of the stores and of what belongs to them, and a manifest with a checksum of each.
//!
//! It is written beside its name and renamed when it is whole, so that what has the name is a backup.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    copy::{CopyError, copy_file, sync_directory},
    kind::{BUILD, GATEWAY, JOURNAL},
};

pub const MANIFEST: &str = "manifest.json";
const FORMAT: u32 = 1;

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// The version that made it.
    pub written_by: String,
    pub fleet: String,
    /// Since 1970.
    pub made_ms: u64,
    pub journal_schema: i32,
    pub gateway_schema: i32,
    pub files: Sums,
}

pub type Sums = BTreeMap<String, FileSum>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    pub bytes: u64,
    pub blake3: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} is there already; a backup is never written over", .0.display())]
    Exists(PathBuf),
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error("{} is no backup: it has no {MANIFEST} that can be read", path.display())]
    NoManifest { path: PathBuf, source: io::Error },
    #[error("the backup {} has format {found}, and this is {BUILD}, which knows {FORMAT}; it was made by {by}", path.display())]
    Later { path: PathBuf, found: u32, by: String },
    #[error("the backup {} is not whole: {file} is missing or cannot be read", path.display())]
    Missing { path: PathBuf, file: String, source: io::Error },
    #[error("the backup {} is damaged: {file} is not what was written", path.display())]
    Changed { path: PathBuf, file: String },
    #[error("the backup {} was made by {by} with schema {found} of the {kind}; this is {BUILD}, which knows {known}", path.display())]
    LaterStore { path: PathBuf, by: String, kind: &'static str, found: i32, known: i32 },
}

/// A backup that is being written.
pub struct Backup {
    to: PathBuf,
    partial: PathBuf,
}

impl Backup {
    /// In a folder that is not there, or is empty.
    pub fn begin(to: &Path) -> Result<Self, BackupError> {
        let write = |path: &Path| {
            let path = path.to_owned();
            move |source| BackupError::Write { path, source }
        };
        let occupied = match fs::read_dir(to) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if occupied {
            return Err(BackupError::Exists(to.to_owned()));
        }
        let mut partial = to.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(write(&partial)(error)),
            _ => {}
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&partial).map_err(write(&partial))?;
        Ok(Self { to: to.to_owned(), partial })
    }

    /// Where a file of it is to be written by somebody else.
    pub fn path(&self, name: &str) -> PathBuf {
        self.partial.join(name)
    }

    /// Takes a file as it is. What is not there is left out.
    pub fn take(&self, from: &Path) -> Result<(), BackupError> {
        let Some(name) = from.file_name() else { return Ok(()) };
        if from.exists() {
            copy_file(from, &self.partial.join(name))?;
        }
        Ok(())
    }

    /// Adds the manifest, and gives the backup its name.
    pub fn finish(self, fleet: &str, made_ms: u64) -> Result<Manifest, BackupError> {
        let write = |source| BackupError::Write { path: self.to.clone(), source };
        let mut files = Sums::new();
        for entry in fs::read_dir(&self.partial).map_err(write)? {
            let entry = entry.map_err(write)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, sum_of(&entry.path()).map_err(write)?);
        }
        let manifest = Manifest {
            format: FORMAT,
            written_by: BUILD.to_owned(),
            fleet: fleet.to_owned(),
            made_ms,
            journal_schema: JOURNAL.schema,
            gateway_schema: GATEWAY.schema,
            files,
        };
        let put = || {
            let path = self.partial.join(MANIFEST);
            let mut options = File::options();
            let options =
                std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create(true).truncate(true), 0o600);
            let mut file = options.open(&path)?;
            io::Write::write_all(&mut file, &serde_json::to_vec_pretty(&manifest)?)?;
            file.sync_all()?;
            sync_directory(&path)?;
            fs::rename(&self.partial, &self.to)?;
            sync_directory(&self.to)
        };
        put().map_err(write)?;
        Ok(manifest)
    }

    /// Takes away what was written of it.
    pub fn abandon(self) {
        // Where it cannot be removed, the next backup to this place says so.
        drop(fs::remove_dir_all(&self.partial));
    }
}

impl Manifest {
    /// Of a backup that is whole, undamaged, and of forms that this build knows. Reads all of it.
    pub fn verified(from: &Path) -> Result<Self, BackupError> {
        let path = || from.to_owned();
        let text = fs::read(from.join(MANIFEST));
        let manifest: Self = text
            .and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from))
            .map_err(|source| BackupError::NoManifest { path: path(), source })?;
        if manifest.format > FORMAT {
            return Err(BackupError::Later { path: path(), found: manifest.format, by: manifest.written_by });
        }
        for (kind, found) in [(JOURNAL, manifest.journal_schema), (GATEWAY, manifest.gateway_schema)] {
            if found > kind.schema {
                let by = manifest.written_by;
                return Err(BackupError::LaterStore { path: path(), by, kind: kind.name, found, known: kind.schema });
            }
        }
        for (file, expected) in &manifest.files {
            let found = sum_of(&from.join(file));
            let found = found.map_err(|source| BackupError::Missing { path: path(), file: file.clone(), source })?;
            if found != *expected {
                return Err(BackupError::Changed { path: path(), file: file.clone() });
            }
        }
        Ok(manifest)
    }
}

fn sum_of(path: &Path) -> io::Result<FileSum> {
    let mut hasher = Summing(blake3::Hasher::new());
    let bytes = io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(FileSum { bytes, blake3: hasher.0.finalize().to_hex().to_string() })
}

struct Summing(blake3::Hasher);

impl io::Write for Summing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("bw-backup-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn made(dir: &Path) -> PathBuf {
        fs::write(dir.join("secret"), [7; 32]).unwrap();
        let to = dir.join("backup");
        let backup = Backup::begin(&to).unwrap();
        backup.take(&dir.join("secret")).unwrap();
        backup.take(&dir.join("not-there")).unwrap();
        assert!(!to.exists(), "it has no name before it is whole");
        backup.finish("sutazai", 5).unwrap();
        to
    }

    #[test]
    fn a_backup_is_private_whole_and_never_written_over() {
        let dir = scratch("whole");
        let to = made(&dir);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&to), mode(&to.join("secret")), mode(&to.join(MANIFEST))), (0o700, 0o600, 0o600));
        let manifest = Manifest::verified(&to).unwrap();
        assert_eq!((manifest.fleet.as_str(), manifest.made_ms, manifest.files.len()), ("sutazai", 5, 1));
        assert!(matches!(Backup::begin(&to), Err(BackupError::Exists(_))));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_was_changed_or_lost_or_is_of_a_later_build_is_refused() {
        let dir = scratch("refused");
        let to = made(&dir);
        let manifest = fs::read_to_string(to.join(MANIFEST)).unwrap();
        fs::write(to.join("secret"), [8; 32]).unwrap();
        assert!(matches!(Manifest::verified(&to), Err(BackupError::Changed { file, .. }) if file == "secret"));
        fs::remove_file(to.join("secret")).unwrap();
        assert!(matches!(Manifest::verified(&to), Err(BackupError::Missing { file, .. }) if file == "secret"));
        for (from, into) in [("\"format\": 1", "\"format\": 9"), ("\"gateway_schema\": 2", "\"gateway_schema\": 9")] {
            fs::write(to.join(MANIFEST), manifest.replace(from, into)).unwrap();
            let text = Manifest::verified(&to).unwrap_err().to_string();
            assert!(text.contains(" 9") && text.contains(BUILD), "{text}");
        }
        fs::write(to.join(MANIFEST), &manifest[..40]).unwrap();
        assert!(matches!(Manifest::verified(&to), Err(BackupError::NoManifest { .. })));
        fs::remove_dir_all(dir).unwrap();
    }
}
