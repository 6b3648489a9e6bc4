//! What is looked up while the gateway runs.

use bellwether_core::{
    id::InstanceId,
    observation::Second,
    traffic::{Archived, End, Task, TaskId},
};
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use super::{During as _, Store, StoreError, load::TASK};
use crate::limits;

/// One entry of the list of ends.
#[derive(Serialize)]
pub(crate) struct Completed {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) status: String,
    pub(crate) attempt: u32,
    pub(crate) at_ms: u64,
}

impl Store {
    /// The task as an agent gets it, less its attempt; and what the attempt before came to. Both are JSON.
    pub(crate) fn content(&self, id: &TaskId) -> Result<(Vec<u8>, Option<Vec<u8>>), StoreError> {
        let sql = "SELECT body, checkpoint FROM tasks JOIN bodies USING (number) LEFT JOIN checkpoints USING (number)
                   WHERE id = ?1";
        let content = self.one(sql, id, |row| Ok((row.get(0)?, row.get(1)?)))?;
        content.ok_or_else(|| self.damaged(format!("task {id} is gone")))
    }

    pub(crate) fn archived(&self, id: &TaskId) -> Result<Option<Archived>, StoreError> {
        self.one("SELECT instance FROM tasks WHERE id = ?1 AND seq IS NOT NULL", id, |row| {
            Ok(Archived { completed_by: row.get::<_, Option<u64>>(0)?.map(InstanceId) })
        })
    }

    /// For whom a task is or was, and its body.
    pub(crate) fn known(&self, id: &TaskId) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        let sql = "SELECT agent, body FROM tasks JOIN bodies USING (number) WHERE id = ?1";
        self.one(sql, id, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// A task that has ended, as the machine had it, and how.
    pub(crate) fn ended_task(&self, id: &TaskId) -> Result<Option<(Task, End)>, StoreError> {
        let sql = format!("SELECT {TASK}, status FROM tasks WHERE id = ?1 AND seq IS NOT NULL");
        let mut statement = self.connection.prepare_cached(&sql).during("read")?;
        let mut rows = statement.query([id.as_str()]).during("read")?;
        let Some(row) = rows.next().during("read")? else { return Ok(None) };
        let status: String = row.get("status").during("read")?;
        Ok(Some((self.task(row)?, self.end(&status)?)))
    }

    pub(crate) fn completions(&self, after: u64, limit: usize) -> Result<Vec<Completed>, StoreError> {
        let sql = "SELECT seq, id, agent, status, attempts, finished FROM tasks
                   WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let read = |row: &Row<'_>| {
            Ok(Completed {
                seq: row.get(0)?,
                id: row.get(1)?,
                agent: row.get(2)?,
                status: row.get(3)?,
                attempt: row.get(4)?,
                at_ms: row.get(5)?,
            })
        };
        let rows = statement.query_map(params![after, limit], read).during("read")?;
        rows.collect::<Result<_, _>>().during("read")
    }

    pub(crate) fn seconds(&self, after: u64) -> Result<Vec<Second>, StoreError> {
        let sql = "SELECT record FROM seconds WHERE number > ?1 ORDER BY number LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        let rows = statement
            .query_map(params![after, limits::SECONDS_ANSWERED], |row| row.get::<_, String>(0))
            .during("read")?;
        let (mut seconds, mut bytes) = (Vec::new(), 0);
        for text in rows {
            let text = text.during("read")?;
            bytes += text.len();
            if bytes > limits::SECONDS_ANSWERED_BYTES && !seconds.is_empty() {
                break;
            }
            seconds.push(self.parsed(&text, "seconds.record")?);
        }
        Ok(seconds)
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        id: &TaskId,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        statement.query_row([id.as_str()], read).optional().during("read")
    }
}
