//! The tables, and whether a file has them.

use std::path::Path;

use rusqlite::Connection;

use super::{StoreError, explain};

/// "BWGW": tells our files from those of other programs.
const APPLICATION: i32 = 0x4257_4757;
const VERSION: i32 = 2;

const TABLES: &str = "
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE instances (
    instance    INTEGER PRIMARY KEY,
    card        TEXT NOT NULL,
    places      INTEGER NOT NULL,
    gone        INTEGER NOT NULL,
    drain_limit INTEGER
);
CREATE TABLE revoked (
    number INTEGER PRIMARY KEY,
    token  TEXT NOT NULL
);
CREATE TABLE routes (
    agent    TEXT PRIMARY KEY,
    active   INTEGER,
    fence    INTEGER NOT NULL,
    fallback INTEGER
) WITHOUT ROWID;
CREATE TABLE tasks (
    id            TEXT PRIMARY KEY,
    place         INTEGER NOT NULL,
    agent         TEXT NOT NULL,
    agent_type    TEXT NOT NULL,
    drawn         TEXT,
    chance        REAL,
    attempts      INTEGER NOT NULL,
    revoked       INTEGER NOT NULL,
    submitted     INTEGER NOT NULL,
    body          BLOB NOT NULL,
    -- Where it stands in line, and what its submitter wants.
    rank          INTEGER NOT NULL,
    priority      TEXT NOT NULL,
    bytes         INTEGER NOT NULL,
    attempts_max  INTEGER NOT NULL,
    not_before    INTEGER,
    begin_by      INTEGER,
    -- The last failure that was reported, and what came of the work until then.
    failed_by      INTEGER,
    failed_attempt INTEGER,
    error          BLOB,
    checkpoint     BLOB,
    -- The lease; after the end of the task the one that it was finished under.
    instance      INTEGER,
    served_agent  TEXT,
    served        TEXT,
    fence         INTEGER,
    granted       INTEGER,
    -- The end.
    seq           INTEGER,
    status        TEXT,
    finished      INTEGER,
    result        BLOB
);
CREATE INDEX tasks_place ON tasks (place);
CREATE INDEX tasks_live ON tasks (place) WHERE seq IS NULL;
CREATE UNIQUE INDEX tasks_seq ON tasks (seq) WHERE seq IS NOT NULL;
CREATE INDEX tasks_finished ON tasks (finished) WHERE seq IS NOT NULL;
CREATE TABLE seconds (
    number INTEGER PRIMARY KEY,
    record TEXT NOT NULL
);
";

/// What brings a file from the version before to the one that follows; the first is for version 1.
const UPGRADES: [&str; 1] = ["
ALTER TABLE tasks ADD COLUMN rank INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN priority TEXT NOT NULL DEFAULT 'normal';
ALTER TABLE tasks ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN attempts_max INTEGER NOT NULL DEFAULT 3;
ALTER TABLE tasks ADD COLUMN not_before INTEGER;
ALTER TABLE tasks ADD COLUMN begin_by INTEGER;
ALTER TABLE tasks ADD COLUMN failed_by INTEGER;
ALTER TABLE tasks ADD COLUMN failed_attempt INTEGER;
ALTER TABLE tasks ADD COLUMN error BLOB;
ALTER TABLE tasks ADD COLUMN checkpoint BLOB;
UPDATE tasks SET rank = submitted, bytes = length(body);
CREATE INDEX tasks_place ON tasks (place);
"];

/// Makes the tables in a file that is empty, brings an older one up to date, and refuses one that is not ours. Looks before it writes.
pub(super) fn prepare(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let explain = |source| explain(path, source);
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), (), |row| row.get::<_, i32>(0));
    // Held from the first read on, so that two gateways never work on one file.
    connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE").map_err(explain)?;
    let application = number("application_id").map_err(explain)?;
    let version = number("user_version").map_err(explain)?;
    let tables: i64 =
        connection.query_row("SELECT COUNT(*) FROM sqlite_schema", (), |row| row.get(0)).map_err(explain)?;
    let is_empty = tables == 0 && application == 0 && version == 0;
    if !is_empty && application != APPLICATION {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if version > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known: VERSION });
    }
    if !is_empty {
        check(connection, path)?;
    }
    connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;").map_err(explain)?;
    if is_empty {
        let all = format!(
            "BEGIN EXCLUSIVE; {TABLES} PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; COMMIT;"
        );
        connection.execute_batch(&all).map_err(explain)?;
    } else {
        let known = usize::try_from(version).unwrap_or_default().saturating_sub(1);
        let steps = UPGRADES.get(known..).unwrap_or_default().concat();
        let all = format!("BEGIN EXCLUSIVE; {steps} PRAGMA user_version={VERSION}; COMMIT;");
        connection.execute_batch(&all).map_err(explain)?;
    }
    Ok(())
}

/// The small tables on which routing rests are checked whole. The large ones are checked as they are read.
fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    for table in ["meta", "instances", "routes"] {
        let found: String = connection
            .query_row(&format!("PRAGMA quick_check({table})"), (), |row| row.get(0))
            .map_err(|source| explain(path, source))?;
        if found != "ok" {
            return Err(StoreError::Damaged { path: path.to_owned(), what: format!("table {table}: {found}") });
        }
    }
    Ok(())
}
