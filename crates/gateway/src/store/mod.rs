//! The gateway's store: one SQLite file with one writer.
//!
//! It holds what was promised: routes, fences, leases, tasks, completions, and one-second records for a
//! controller that was away. A commit is on the disk before anybody is answered (`synchronous=FULL`): a task
//! that was accepted survives a power cut. The file is locked for as long as it is open, and a file that is not
//! ours, newer than this build or damaged is left as it is.

mod life;
mod load;
mod outbox;
mod purge;
mod read;
mod schema;
mod shown;
mod write;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bellwether_store::{CopyError, GATEWAY, Refused, Remedy};
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

pub(crate) use self::{
    load::{Ends, Loaded},
    outbox::{Letter, Outbox, Posted, Waiting},
    purge::Purged,
    read::Completed,
    shown::{Filter, Shown, is_state},
};

/// How long a gateway that is just ending may keep the file.
const BUSY_WAIT: Duration = if cfg!(test) { Duration::from_millis(100) } else { Duration::from_secs(10) };

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the directory of the store {path} cannot be used")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the store {path} cannot be opened")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("the store {path} is in use by another gateway")]
    InUse { path: PathBuf },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the store cannot be kept as it is before its form changes, so nothing was changed")]
    Keep(#[from] CopyError),
    #[error("the store {path} is damaged: {what}; nothing was changed in it")]
    Damaged { path: PathBuf, what: String },
    #[error("the store could not be {action}")]
    Failed { action: &'static str, source: rusqlite::Error },
}

impl StoreError {
    /// What a person has to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Open { source, .. } | Self::Failed { source, .. } | Self::Keep(CopyError::Store { source, .. }) => {
                Remedy::of(source)
            }
            Self::Refused(refused) => Remedy::of_refused(refused),
            Self::Damaged { .. } => Remedy::Restore,
            Self::Directory { .. } | Self::InUse { .. } | Self::Keep(CopyError::File { .. }) => Remedy::Named,
        }
    }

    /// There is no room on the disk for what was to be written.
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        matches!(self, Self::Failed { .. }) && self.remedy() == Remedy::Room
    }
}

/// Names what was tried when the database refuses.
trait During<T> {
    fn during(self, action: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, action: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Failed { action, source })
    }
}

pub(crate) struct Store {
    connection: Connection,
    path: PathBuf,
    in_transaction: bool,
    /// Highest numbers given since the last commit; written once with it.
    numbers: Numbers,
    /// What tasks that have ended take up: bodies, checkpoints and results.
    kept_bytes: u64,
}

#[derive(Default)]
struct Numbers {
    order: Option<u64>,
    seq: Option<u64>,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory)
                .map_err(|source| StoreError::Directory { path: path.to_owned(), source })?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let explain = |source| explain(path, source);
        let connection = Connection::open_with_flags(path, flags).map_err(explain)?;
        connection.busy_timeout(BUSY_WAIT).map_err(explain)?;
        schema::prepare(&connection, path)?;
        connection.set_prepared_statement_cache_capacity(64);
        // Else a statement with a join is planned anew for every value that it is given.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(explain)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            in_transaction: false,
            numbers: Numbers::default(),
            kept_bytes: 0,
        })
    }

    /// What tasks that have ended take up, as far as it was loaded and written since.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Makes everything since the last commit durable. Nothing to do is nothing done.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        let Numbers { order, seq } = std::mem::take(&mut self.numbers);
        if let Some(order) = order {
            self.set_meta("last_order", &order)?;
        }
        if let Some(seq) = seq {
            self.set_meta("last_seq", &seq)?;
        }
        if self.in_transaction {
            self.connection.execute_batch("COMMIT").during("committed")?;
            self.in_transaction = false;
        }
        Ok(())
    }

    /// What is committed, as a file of its own. No transaction may be open.
    pub(crate) fn copy(&self, to: &Path) -> Result<(), CopyError> {
        bellwether_store::copy(&self.connection, to)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Undoes everything since the last commit. What is kept has to be loaded again.
    pub(crate) fn roll_back(&mut self) -> Result<(), StoreError> {
        self.in_transaction = false;
        self.numbers = Numbers::default();
        // After some errors the database has rolled back by itself.
        if self.connection.is_autocommit() {
            Ok(())
        } else {
            self.connection.execute_batch("ROLLBACK").during("rolled back")
        }
    }

    /// Makes the disk look full beyond this many pages.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u32) -> u32 {
        self.connection.query_row(&format!("PRAGMA max_page_count={pages}"), (), |row| row.get(0)).unwrap()
    }

    #[cfg(test)]
    pub(crate) fn pages(&self) -> u32 {
        self.connection.query_row("PRAGMA page_count", (), |row| row.get(0)).unwrap()
    }

    fn begin(&mut self) -> Result<&Connection, StoreError> {
        if !self.in_transaction {
            self.connection.execute_batch("BEGIN IMMEDIATE").during("written to")?;
            self.in_transaction = true;
        }
        Ok(&self.connection)
    }

    fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: what.into() }
    }
}

/// What an error of the database at opening means to a person.
fn explain(path: &Path, source: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => StoreError::Refused(Refused::Foreign { path, kind: GATEWAY.name }),
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, what: source.to_string() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse { path },
        _ => StoreError::Open { path, source },
    }
}

#[cfg(test)]
mod tests;
