//! Letters to the user's own backend: reports that were accepted here and have to arrive there.
//!
//! One per task, written with the end that it tells. It waits until the backend has taken it or refused it for good,
//! and is kept as long as its task, so that it can be sent again to a backend that has forgotten.

use bellwether_core::{time::UnixMillis, traffic::TaskId};
use hyper::Method;
use rusqlite::{Row, params};
use serde::Serialize;

use super::{During as _, Store, StoreError};
use crate::limits;

pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS outbox (
    -- A letter that replaces another has a number of its own.
    number INTEGER PRIMARY KEY,
    task   TEXT NOT NULL UNIQUE,
    method TEXT NOT NULL,
    path   TEXT NOT NULL,
    body   BLOB NOT NULL,
    at     INTEGER NOT NULL,
    -- waiting, done or refused
    state  TEXT NOT NULL,
    tries  INTEGER NOT NULL,
    due    INTEGER NOT NULL,
    answer TEXT
);
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (number) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS outbox_refused ON outbox (number) WHERE state = 'refused';
";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) method: Method,
    /// At the backend.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// A letter that is due.
pub(crate) struct Waiting {
    pub(crate) number: u64,
    pub(crate) task: String,
    pub(crate) tries: u32,
    pub(crate) letter: Letter,
}

/// What became of sending one.
pub(crate) enum Posted {
    Done,
    /// For good.
    Refused(String),
    /// To be tried again then.
    NotYet {
        due: UnixMillis,
        answer: String,
    },
}

/// As people are shown it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outbox {
    pub(crate) waiting: u64,
    pub(crate) refused: u64,
    /// The oldest of both.
    pub(crate) reports: Vec<Shown>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    task: String,
    state: String,
    tries: u32,
    /// What the backend said last.
    answer: Option<String>,
    at_ms: u64,
}

impl Store {
    /// Stands in place of an earlier one for the task.
    pub(crate) fn post(&mut self, task: &TaskId, letter: &Letter, at: UnixMillis) -> Result<(), StoreError> {
        let Letter { method, path, body } = letter;
        self.run(
            "INSERT INTO outbox (number, task, method, path, body, at, state, tries, due)
             VALUES ((SELECT COALESCE(MAX(number), 0) + 1 FROM outbox), ?1, ?2, ?3, ?4, ?5, 'waiting', 0, 0)
             ON CONFLICT (task) DO UPDATE SET
                number = excluded.number, method = excluded.method, path = excluded.path, body = excluded.body,
                at = excluded.at, state = 'waiting', tries = 0, due = 0, answer = NULL",
            params![task.as_str(), method.as_str(), path, body, at.0],
        )
    }

    /// Sends it once more, if there is one. One that waits goes on waiting.
    pub(crate) fn post_again(&mut self, task: &TaskId, now: UnixMillis) -> Result<bool, StoreError> {
        let sql = "UPDATE outbox SET state = 'waiting', tries = 0, due = ?2 WHERE task = ?1 AND state <> 'waiting'";
        let changed = self
            .begin()?
            .prepare_cached(sql)
            .and_then(|mut it| it.execute(params![task.as_str(), now.0]))
            .during("written to")?;
        Ok(changed > 0)
    }

    /// Those that are due, the oldest first.
    pub(crate) fn letters(&self, now: UnixMillis) -> Result<Vec<Waiting>, StoreError> {
        let sql = "SELECT number, task, tries, method, path, body FROM outbox
                   WHERE state = 'waiting' AND due <= ?1 ORDER BY number LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let read = |row: &Row<'_>| {
            let method: String = row.get(3)?;
            let letter = Letter {
                method: if method == "PUT" { Method::PUT } else { Method::POST },
                path: row.get(4)?,
                body: row.get(5)?,
            };
            Ok(Waiting { number: row.get(0)?, task: row.get(1)?, tries: row.get(2)?, letter })
        };
        let rows = statement.query_map(params![now.0, limits::LETTERS_AT_ONCE], read).during("read")?;
        rows.collect::<Result<_, _>>().during("read")
    }

    /// Nothing, where it was replaced in the meantime.
    pub(crate) fn posted(&mut self, number: u64, posted: &Posted) -> Result<(), StoreError> {
        match posted {
            Posted::Done => self.run(
                "UPDATE outbox SET state = 'done', tries = tries + 1, answer = NULL WHERE number = ?1",
                params![number],
            ),
            Posted::Refused(answer) => self.run(
                "UPDATE outbox SET state = 'refused', tries = tries + 1, answer = ?2 WHERE number = ?1",
                params![number, answer],
            ),
            Posted::NotYet { due, answer } => self.run(
                "UPDATE outbox SET tries = tries + 1, due = ?2, answer = ?3 WHERE number = ?1 AND state = 'waiting'",
                params![number, due.0, answer],
            ),
        }
    }

    pub(crate) fn outbox(&self) -> Result<Outbox, StoreError> {
        let count = |sql: &str| self.connection.query_row(sql, (), |row| row.get(0)).during("read");
        let sql = "SELECT task, state, tries, answer, at FROM outbox WHERE state IN ('waiting', 'refused')
                   ORDER BY number LIMIT ?1";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let read = |row: &Row<'_>| {
            Ok(Shown {
                task: row.get(0)?,
                state: row.get(1)?,
                tries: row.get(2)?,
                answer: row.get(3)?,
                at_ms: row.get(4)?,
            })
        };
        let rows = statement.query_map([limits::LETTERS_SHOWN], read).during("read")?;
        Ok(Outbox {
            waiting: count("SELECT COUNT(*) FROM outbox WHERE state = 'waiting'")?,
            refused: count("SELECT COUNT(*) FROM outbox WHERE state = 'refused'")?,
            reports: rows.collect::<Result<_, _>>().during("read")?,
        })
    }

    /// Letters of tasks that are kept no longer go too, unless they still have to arrive.
    pub(crate) fn clear_outbox(&mut self) -> Result<(), StoreError> {
        self.run(
            "DELETE FROM outbox WHERE state <> 'waiting' AND NOT EXISTS (SELECT 1 FROM tasks WHERE id = outbox.task)",
            &[],
        )
    }
}
