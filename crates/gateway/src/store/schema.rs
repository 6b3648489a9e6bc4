//! The tables, and whether a file has them.

use std::path::Path;

use rusqlite::Connection;

use super::{StoreError, explain, outbox};

/// "BWGW": tells our files from those of other programs.
const APPLICATION: i32 = 0x4257_4757;
/// Of the tables that this build writes.
pub const VERSION: i32 = 2;

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
";

const TASKS: &str = "
CREATE TABLE tasks (
    -- In the order in which they were submitted.
    number           INTEGER PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    place            INTEGER NOT NULL,
    agent            TEXT NOT NULL,
    agent_type       TEXT NOT NULL,
    drawn            TEXT,
    chance           REAL,
    attempts         INTEGER NOT NULL,
    revoked          INTEGER NOT NULL,
    submitted        INTEGER NOT NULL,
    -- Where it stands in line, and what its submitter wants.
    rank             INTEGER NOT NULL,
    priority         TEXT NOT NULL,
    bytes            INTEGER NOT NULL,
    attempts_max     INTEGER NOT NULL,
    not_before       INTEGER,
    begin_by         INTEGER,
    -- The last failure that was reported, and why the last attempt or the task ended.
    failed_by        INTEGER,
    failed_attempt   INTEGER,
    error            TEXT,
    checkpoint_bytes INTEGER,
    -- The lease; after the end of the task the one that it was finished under.
    instance         INTEGER,
    served_agent     TEXT,
    served           TEXT,
    fence            INTEGER,
    granted          INTEGER,
    -- The end, and what the task takes up after it.
    seq              INTEGER,
    status           TEXT,
    finished         INTEGER,
    kept             INTEGER
);
-- Those that have not ended are together at its beginning, in the order of their numbers.
CREATE UNIQUE INDEX tasks_seq ON tasks (seq);
CREATE INDEX tasks_finished ON tasks (finished) WHERE seq IS NOT NULL;
-- Apart, so that a change of a task does not write its content again.
CREATE TABLE bodies (
    number INTEGER PRIMARY KEY,
    body   BLOB NOT NULL
);
CREATE TABLE checkpoints (
    number     INTEGER PRIMARY KEY,
    checkpoint BLOB NOT NULL
);
CREATE TABLE results (
    number INTEGER PRIMARY KEY,
    result BLOB NOT NULL
);
";

const SECONDS: &str = "
CREATE TABLE seconds (
    number INTEGER PRIMARY KEY,
    record TEXT NOT NULL
);
";

/// Version 1 knew no more of a task than for whom it was, and kept its content with it.
const OUT_OF_1: &str = "
INSERT INTO tasks (number, id, place, agent, agent_type, drawn, chance, attempts, revoked, submitted, rank, priority,
                   bytes, attempts_max, instance, served_agent, served, fence, granted, seq, status, finished, kept)
    SELECT place, id, place, agent, agent_type, drawn, chance, attempts, revoked, submitted, submitted, 'normal',
           length(body), 3, instance, served_agent, served, fence, granted, seq, status, finished,
           CASE WHEN seq IS NOT NULL THEN length(body) + ifnull(length(result), 0) END
    FROM tasks_1 ORDER BY place;
INSERT INTO bodies SELECT place, body FROM tasks_1 ORDER BY place;
INSERT INTO results SELECT place, result FROM tasks_1 WHERE result IS NOT NULL ORDER BY place;
DROP TABLE tasks_1;
";

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
    if is_empty {
        // Before anything is written, or it has no effect: pages that are free can be given back.
        connection.execute_batch("PRAGMA auto_vacuum=INCREMENTAL").map_err(explain)?;
    }
    connection.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;").map_err(explain)?;
    if is_empty {
        let all = format!(
            "BEGIN EXCLUSIVE; {TABLES} {TASKS} {SECONDS}
             PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; COMMIT;"
        );
        connection.execute_batch(&all).map_err(explain)?;
    } else if version == 1 {
        let all = format!(
            "BEGIN EXCLUSIVE;
             DROP INDEX tasks_live; DROP INDEX tasks_seq; DROP INDEX tasks_finished;
             ALTER TABLE tasks RENAME TO tasks_1; {TASKS} {OUT_OF_1}
             PRAGMA user_version={VERSION}; COMMIT;"
        );
        connection.execute_batch(&all).map_err(explain)?;
    }
    connection.execute_batch(outbox::TABLE).map_err(explain)
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
