//! The journal: every event that the controller accepted, in order, in SQLite.
//!
//! A record is durable before the effects that it released begin. Records carry a checksum, so that a torn or
//! altered one is noticed when it is read and not when it is acted on.

use std::path::{Path, PathBuf};

use bellwether_core::{rollout::Event, time::Now};
use rusqlite::{Connection, params};

use crate::error::Error;

/// Of the tables that this build writes.
pub const SCHEMA: i64 = 1;

pub(crate) struct Journal {
    db: Connection,
}

impl Journal {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::OpenJournal { path: path.to_owned(), source };
        let db = Connection::open(path).map_err(failed)?;
        let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if found > SCHEMA {
            return Err(Error::LaterSchema { path: PathBuf::from(path), found, known: SCHEMA });
        }
        db.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             CREATE TABLE IF NOT EXISTS events (
                 seq INTEGER PRIMARY KEY,
                 mono_ns INTEGER NOT NULL,
                 wall_ms INTEGER NOT NULL,
                 event TEXT NOT NULL,
                 check_crc INTEGER NOT NULL
             ) STRICT;
             CREATE TABLE IF NOT EXISTS availability (
                 second INTEGER PRIMARY KEY,
                 without_ready INTEGER NOT NULL
             ) STRICT;
             CREATE TABLE IF NOT EXISTS usage (
                 wall_ms INTEGER PRIMARY KEY,
                 sample TEXT NOT NULL
             ) STRICT;
             PRAGMA user_version = 1;",
        )
        .map_err(failed)?;
        Ok(Self { db })
    }

    /// Hands every record to `each`, in order.
    pub(crate) fn replay(&self, mut each: impl FnMut(i64, Now, Event) -> Result<(), Error>) -> Result<i64, Error> {
        let mut records = self
            .db
            .prepare("SELECT seq, mono_ns, wall_ms, event, check_crc FROM events ORDER BY seq")
            .map_err(Error::WriteJournal)?;
        let mut rows = records.query([]).map_err(Error::WriteJournal)?;
        let mut last = 0;
        while let Some(row) = rows.next().map_err(Error::WriteJournal)? {
            let (seq, mono, wall, text, check): (i64, i64, i64, String, i64) =
                (|| Ok::<_, rusqlite::Error>((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))()
                    .map_err(Error::WriteJournal)?;
            if seq != last + 1 {
                return Err(Error::Unreplayable { seq, why: format!("record {} is missing", last + 1) });
            }
            if checksum(seq, &text) != check {
                return Err(Error::Unreplayable { seq, why: "its checksum does not match".into() });
            }
            let event = serde_json::from_str(&text).map_err(|source| Error::CorruptRecord { seq, source })?;
            let now = Now {
                mono: bellwether_core::time::Nanos(mono.cast_unsigned()),
                wall: bellwether_core::time::UnixMillis(wall.cast_unsigned()),
            };
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
                let text = serde_json::to_string(event).map_err(|source| Error::CorruptRecord { seq, source })?;
                let row = params![seq, now.mono.0.cast_signed(), now.wall.0.cast_signed(), text, checksum(seq, &text)];
                insert.execute(row).map_err(Error::WriteJournal)?;
            }
        }
        transaction.commit().map_err(Error::WriteJournal)?;
        Ok(seq)
    }

    pub(crate) fn put_usage(&self, wall_ms: u64, sample: &str, keep_ms: u64) -> Result<(), Error> {
        self.db
            .execute(
                "INSERT OR REPLACE INTO usage (wall_ms, sample) VALUES (?, ?)",
                params![wall_ms.cast_signed(), sample],
            )
            .and_then(|_| {
                self.db.execute("DELETE FROM usage WHERE wall_ms < ?", [wall_ms.saturating_sub(keep_ms).cast_signed()])
            })
            .map_err(Error::WriteJournal)?;
        Ok(())
    }

    /// How many agents no ready instance served when this one-second record was closed.
    pub(crate) fn put_availability(&self, second: u64, without_ready: u32, keep: u64) -> Result<(), Error> {
        self.db
            .execute(
                "INSERT OR REPLACE INTO availability (second, without_ready) VALUES (?, ?)",
                params![second.cast_signed(), without_ready],
            )
            .and_then(|_| {
                self.db
                    .execute("DELETE FROM availability WHERE second < ?", [second.saturating_sub(keep).cast_signed()])
            })
            .map_err(Error::WriteJournal)?;
        Ok(())
    }

    /// Of the records in `(after, until]`.
    pub(crate) fn availability(&self, after: u64, until: u64) -> Result<Vec<u32>, Error> {
        let mut samples = self
            .db
            .prepare_cached("SELECT without_ready FROM availability WHERE second > ? AND second <= ? ORDER BY second")
            .map_err(Error::WriteJournal)?;
        let until = until.min(i64::MAX.cast_unsigned());
        let rows = samples
            .query_map([after.cast_signed(), until.cast_signed()], |row| row.get(0))
            .map_err(Error::WriteJournal)?;
        rows.collect::<Result<_, _>>().map_err(Error::WriteJournal)
    }

    pub(crate) fn usage(&self, from_ms: u64, until_ms: u64) -> Result<Vec<String>, Error> {
        let samples = self.timed_usage(from_ms, until_ms)?;
        Ok(samples.into_iter().map(|(_, sample)| sample).collect())
    }

    /// With the moment of each sample, in milliseconds since 1970.
    pub(crate) fn timed_usage(&self, from_ms: u64, until_ms: u64) -> Result<Vec<(u64, String)>, Error> {
        let mut samples = self
            .db
            .prepare_cached("SELECT wall_ms, sample FROM usage WHERE wall_ms BETWEEN ? AND ? ORDER BY wall_ms")
            .map_err(Error::WriteJournal)?;
        let rows = samples
            .query_map([from_ms.cast_signed(), until_ms.cast_signed()], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
            })
            .map_err(Error::WriteJournal)?;
        rows.collect::<Result<_, _>>().map_err(Error::WriteJournal)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("bw-journal-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).unwrap();
        dir.join("journal.sqlite")
    }

    fn read(journal: &Journal) -> Result<Vec<Event>, Error> {
        let mut events = Vec::new();
        journal.replay(|_, _, event| {
            events.push(event);
            Ok(())
        })?;
        Ok(events)
    }

    #[test]
    fn what_was_appended_comes_back_in_order() {
        let path = scratch("order");
        let mut journal = Journal::open(&path).unwrap();
        let last = journal.append(0, &[(Now::default(), Event::Restarted), (Now::default(), Event::Tick)]).unwrap();
        drop(journal);
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.append(last, &[(Now::default(), Event::Tick)]).unwrap(), 3);
        assert_eq!(read(&journal).unwrap(), [Event::Restarted, Event::Tick, Event::Tick]);
    }

    #[test]
    fn an_altered_or_missing_record_stops_the_replay() {
        let path = scratch("altered");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(0, &[(Now::default(), Event::Restarted), (Now::default(), Event::Tick)]).unwrap();
        journal.db.execute("UPDATE events SET event = '{\"event\":\"restarted\"}' WHERE seq = 2", []).unwrap();
        assert!(matches!(read(&journal), Err(Error::Unreplayable { seq: 2, .. })));
        journal.db.execute("DELETE FROM events WHERE seq = 1", []).unwrap();
        assert!(matches!(read(&journal), Err(Error::Unreplayable { .. })));
    }

    #[test]
    fn a_later_schema_is_refused_and_left_alone() {
        let path = scratch("later");
        Journal::open(&path).unwrap().db.execute_batch("PRAGMA user_version = 99").unwrap();
        assert!(matches!(Journal::open(&path), Err(Error::LaterSchema { found: 99, .. })));
    }
}
