//! What is looked up while the gateway runs.

use bellwether_core::{
    id::{InstanceId, Side},
    observation::Second,
    traffic::{Archived, TaskId},
};
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{During as _, Store, StoreError};
use crate::limits;

/// A task that has ended, as people are shown it.
#[derive(Serialize)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) agent: String,
    #[serde(rename = "type")]
    pub(crate) agent_type: String,
    /// `completed` or `failed`.
    pub(crate) state: String,
    pub(crate) attempts: u32,
    pub(crate) drawn: Option<Side>,
    pub(crate) chance: Option<f64>,
    pub(crate) served: Option<Side>,
    pub(crate) served_agent: Option<String>,
    pub(crate) submitted_ms: u64,
    pub(crate) finished_ms: u64,
    pub(crate) seq: u64,
    pub(crate) result: Option<Box<RawValue>>,
}

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
    /// The task as an agent gets it, less its attempt.
    pub(crate) fn body(&self, id: &TaskId) -> Result<Vec<u8>, StoreError> {
        self.one("SELECT body FROM tasks WHERE id = ?1", id, |row| row.get(0))?
            .ok_or_else(|| self.damaged(format!("task {id} is gone")))
    }

    pub(crate) fn archived(&self, id: &TaskId) -> Result<Option<Archived>, StoreError> {
        self.one("SELECT instance FROM tasks WHERE id = ?1 AND seq IS NOT NULL", id, |row| {
            Ok(Archived { completed_by: row.get::<_, Option<u64>>(0)?.map(InstanceId) })
        })
    }

    /// For whom a task was that has ended.
    pub(crate) fn ended_for(&self, id: &TaskId) -> Result<Option<String>, StoreError> {
        self.one("SELECT agent FROM tasks WHERE id = ?1 AND seq IS NOT NULL", id, |row| row.get(0))
    }

    pub(crate) fn ended(&self, id: &TaskId) -> Result<Option<Ended>, StoreError> {
        let sql = "SELECT agent, agent_type, status, attempts, drawn, chance, served, served_agent, submitted,
                          finished, seq, result
                   FROM tasks WHERE id = ?1 AND seq IS NOT NULL";
        let read = |row: &Row<'_>| {
            let sides: [Option<String>; 2] = [row.get(4)?, row.get(6)?];
            let result: Option<Vec<u8>> = row.get(11)?;
            let ended = Ended {
                id: id.to_string(),
                agent: row.get(0)?,
                agent_type: row.get(1)?,
                state: row.get(2)?,
                attempts: row.get(3)?,
                drawn: None,
                chance: row.get(5)?,
                served: None,
                served_agent: row.get(7)?,
                submitted_ms: row.get(8)?,
                finished_ms: row.get(9)?,
                seq: row.get(10)?,
                result: None,
            };
            Ok((ended, sides, result))
        };
        let Some((mut ended, [drawn, served], result)) = self.one(sql, id, read)? else { return Ok(None) };
        ended.drawn = self.side(drawn)?;
        ended.served = self.side(served)?;
        ended.result = match result {
            Some(bytes) => Some(self.parsed(&String::from_utf8_lossy(&bytes), "tasks.result")?),
            None => None,
        };
        Ok(Some(ended))
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

    fn one<T>(
        &self,
        sql: &str,
        id: &TaskId,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.connection.prepare_cached(sql).during("read")?;
        statement.query_row([id.as_str()], read).optional().during("read")
    }
}
