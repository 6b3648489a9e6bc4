//! The journal: every event that the controller accepted, in order, in SQLite; and what they come to, now and then, so
//! that the oldest can go.
//!
//! A record is durable before the effects that it released begin. Records and snapshots carry a checksum, so that a torn
//! or altered one is noticed when it is read and not when it is acted on.

mod retention;
mod samples;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use bellwether_core::{
    rollout::Event,
    time::{Nanos, Now, UnixMillis},
};
use rusqlite::{Connection, OpenFlags, params};

pub(crate) use self::{
    retention::{EVENTS_KEPT, SNAPSHOT_EVERY},
    snapshot::{Memory, noted},
};
use crate::error::Error;

pub(crate) struct Journal {
    db: Connection,
    path: PathBuf,
}

impl Journal {
    /// For the one who writes. Makes it where there is none, and brings an earlier form up to date.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let db = Connection::open(path).map_err(|source| Error::OpenJournal { path: path.to_owned(), source })?;
        schema::prepare(&db, path)?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// For those who read beside the one who writes.
    pub(crate) fn reader(path: &Path) -> Result<Self, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags);
        let db = opened.map_err(|source| Error::OpenJournal { path: path.to_owned(), source })?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// Hands every record after this one to `each`, in order, and returns the number of the last.
    pub(crate) fn events(
        &self,
        after: i64,
        mut each: impl FnMut(i64, Now, Event) -> Result<(), Error>,
    ) -> Result<i64, Error> {
        let sql = "SELECT seq, mono_ns, wall_ms, event, check_crc FROM events WHERE seq > ?1 ORDER BY seq";
        let mut records = self.db.prepare(sql).map_err(|source| self.unreadable(source))?;
        let mut rows = records.query([after]).map_err(|source| self.unreadable(source))?;
        let mut last = after;
        while let Some(row) = rows.next().map_err(|source| self.unreadable(source))? {
            let (seq, mono, wall, text, check): (i64, i64, i64, String, i64) =
                (|| Ok::<_, rusqlite::Error>((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))()
                    .map_err(|source| self.unreadable(source))?;
            let unreplayable = |why: String| Error::Unreplayable { path: self.path.clone(), seq, why };
            if seq != last + 1 {
                return Err(unreplayable(format!("record {} is missing", last + 1)));
            }
            if checksum(seq, &text) != check {
                return Err(unreplayable("its checksum does not match".into()));
            }
            let event = serde_json::from_str(&text).map_err(|source| Error::CorruptRecord {
                path: self.path.clone(),
                seq,
                source,
            })?;
            let now = Now { mono: Nanos(mono.cast_unsigned()), wall: UnixMillis(wall.cast_unsigned()) };
            each(seq, now, event)?;
            last = seq;
        }
        Ok(last)
    }

    /// Appends after `last` in one transaction. When this returns, the records outlive a power cut.
    pub(crate) fn append(&mut self, last: i64, records: &[(Now, Event)]) -> Result<i64, Error> {
        let transaction = self.db.transaction().map_err(Error::WriteJournal)?;
        let mut seq = last;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO events (seq, mono_ns, wall_ms, event, check_crc) VALUES (?, ?, ?, ?, ?)")
                .map_err(Error::WriteJournal)?;
            for (now, event) in records {
                seq += 1;
                let text = serde_json::to_string(event).map_err(|source| Error::CorruptRecord {
                    path: self.path.clone(),
                    seq,
                    source,
                })?;
                let row = params![seq, now.mono.0.cast_signed(), now.wall.0.cast_signed(), text, checksum(seq, &text)];
                insert.execute(row).map_err(Error::WriteJournal)?;
            }
        }
        transaction.commit().map_err(Error::WriteJournal)?;
        Ok(seq)
    }

    /// What is stored at this moment, as a file of its own.
    pub(crate) fn copy(&self, to: &Path) -> Result<(), bellwether_store::CopyError> {
        bellwether_store::copy(&self.db, to)
    }

    fn unreadable(&self, source: rusqlite::Error) -> Error {
        Error::ReadJournal { path: self.path.clone(), source }
    }

    /// Makes the disk look full beyond this many pages.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: u32) -> u32 {
        self.db.query_row(&format!("PRAGMA max_page_count={pages}"), (), |row| row.get(0)).unwrap()
    }

    #[cfg(test)]
    pub(crate) fn pages(&self) -> u32 {
        self.db.query_row("PRAGMA page_count", (), |row| row.get(0)).unwrap()
    }
}

/// FNV-1a over number and text: detects torn and altered records, not an adversary.
fn checksum(seq: i64, text: &str) -> i64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in seq.to_le_bytes().into_iter().chain(text.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.cast_signed()
}
