//! The tables, and how a journal of an earlier form gets them.

use std::path::Path;

use bellwether_store::{Found, JOURNAL, Kind, identify, keep, stamp};
use rusqlite::Connection;

use crate::error::Error;

const EVENTS: &str = "
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    mono_ns INTEGER NOT NULL,
    wall_ms INTEGER NOT NULL,
    event TEXT NOT NULL,
    check_crc INTEGER NOT NULL
) STRICT;
CREATE TABLE availability (
    second INTEGER PRIMARY KEY,
    without_ready INTEGER NOT NULL
) STRICT;
CREATE TABLE usage (
    wall_ms INTEGER PRIMARY KEY,
    sample TEXT NOT NULL
) STRICT;
";

/// What form 1 did not have.
const SINCE_2: &str = "
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (
    -- The last record that is in it.
    seq INTEGER PRIMARY KEY,
    wall_ms INTEGER NOT NULL,
    form INTEGER NOT NULL,
    build TEXT NOT NULL,
    body TEXT NOT NULL,
    check_crc INTEGER NOT NULL
) STRICT;
";

/// Looks before it writes.
pub(super) fn prepare(db: &Connection, path: &Path) -> Result<(), Error> {
    let failed = |source| Error::OpenJournal { path: path.to_owned(), source };
    let found = identify(db, path, JOURNAL)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").map_err(failed)?;
    let Kind { application, schema, .. } = JOURNAL;
    let make = match found {
        Found::Nothing => Some([EVENTS, SINCE_2].concat()),
        Found::Schema(1) => {
            keep(db, path, 1)?;
            Some(SINCE_2.to_owned())
        }
        Found::Schema(_) => None,
    };
    if let Some(tables) = make {
        let pragmas = format!("PRAGMA application_id = {application}; PRAGMA user_version = {schema};");
        db.execute_batch(&format!("BEGIN EXCLUSIVE; {tables} {pragmas} COMMIT;")).map_err(failed)?;
    }
    stamp(db).map_err(failed)
}
