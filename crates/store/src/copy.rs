//! Copies of a store that is open, or of any file: there as a whole or not at all, also if the power goes.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rusqlite::Connection;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("cannot write the copy {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot copy the store to {}", path.display())]
    Store { path: PathBuf, source: rusqlite::Error },
}

/// What the store holds at this moment, as a file of its own. No transaction may be open on the connection.
pub fn copy(store: &Connection, to: &Path) -> Result<(), CopyError> {
    let file = |source| CopyError::File { path: to.to_owned(), source };
    let partial = partial(to);
    remove_if_there(&partial).map_err(file)?;
    let copied = store.execute("VACUUM INTO ?1", [partial.to_string_lossy()]);
    let put = || {
        fs::set_permissions(&partial, Permissions::from_mode(0o600))?;
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, to)?;
        sync_directory(to)
    };
    let done = match copied {
        Ok(_) => put().map_err(file),
        Err(source) => Err(CopyError::Store { path: to.to_owned(), source }),
    };
    if done.is_err() {
        // Half a copy helps nobody and takes room. Where it cannot be removed, the next try says so.
        drop(fs::remove_file(&partial));
    }
    done
}

/// The same of a store that nobody has open.
pub fn copy_at_rest(store: &Path, to: &Path) -> Result<(), CopyError> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let opened = Connection::open_with_flags(store, flags);
    let connection = opened.map_err(|source| CopyError::Store { path: to.to_owned(), source })?;
    copy(&connection, to)
}

/// A file as it is. Only for the owner to read.
pub fn copy_file(from: &Path, to: &Path) -> Result<(), CopyError> {
    let partial = partial(to);
    let copied = (|| {
        let mut source = File::open(from)?;
        let mut target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        io::copy(&mut source, &mut target)?;
        target.sync_all()?;
        fs::rename(&partial, to)?;
        sync_directory(to)
    })();
    if copied.is_err() {
        // As above.
        drop(fs::remove_file(&partial));
    }
    copied.map_err(|source| CopyError::File { path: to.to_owned(), source })
}

/// Keeps the store as it is before its form changes. One that was kept already stays: what is there now may be half changed.
pub fn keep(store: &Connection, path: &Path, schema: i32) -> Result<(), CopyError> {
    let to = kept(path, schema);
    if to.exists() { Ok(()) } else { copy(store, &to) }
}

/// Where the copy is that was kept before this form was left.
pub fn kept(path: &Path, schema: i32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".schema-{schema}.bak"));
    name.into()
}

/// Makes names in the directory of this file last.
pub fn sync_directory(of: &Path) -> io::Result<()> {
    let directory = of.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn partial(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
