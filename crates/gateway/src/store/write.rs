//! Changes as rows.

use bellwether_core::{
    observation::Second,
    time::{Millis, UnixMillis},
    traffic::{Change, Lease, Report, Task},
};
use rusqlite::{ToSql, params};
use serde::Serialize;

use super::{During as _, Store, StoreError, load::StoredCard};
use crate::limits;

impl Store {
    /// Writes a change into the open transaction. `content` is what goes with the change and the machine does not
    /// know: the body of a task that is queued, the result of one that is finished.
    pub(crate) fn write(&mut self, change: &Change, content: &[u8]) -> Result<(), StoreError> {
        match change {
            Change::Enrolled { card } => {
                let stored = StoredCard::from(card.clone());
                self.run(
                    "INSERT INTO instances (instance, card, places, gone) VALUES (?1, ?2, 1, 0)",
                    params![card.instance.0, self.text(&stored)?],
                )
            }
            Change::Settled { instance } => self.run(
                "UPDATE instances SET card = json_set(card, '$.side', 'blue') WHERE instance = ?1",
                params![instance.0],
            ),
            Change::Places { instance, places } => {
                self.run("UPDATE instances SET places = ?2 WHERE instance = ?1", params![instance.0, places])
            }
            Change::Gone { instance } => self
                .run("UPDATE instances SET gone = 1, drain_limit = NULL WHERE instance = ?1", params![instance.0]),
            Change::Forgotten { instance, token } => {
                self.run("DELETE FROM instances WHERE instance = ?1", params![instance.0])?;
                self.run("INSERT INTO revoked (token) VALUES (?1)", params![token.as_str()])?;
                self.run(
                    "DELETE FROM revoked WHERE number <= (SELECT MAX(number) FROM revoked) - ?1",
                    params![limits::REVOKED_KEPT],
                )
            }
            Change::Generation { generation, moves } => {
                self.set_meta("generation", generation)?;
                self.set_meta("moves", moves)
            }
            Change::Routed { agent, route } => self.run(
                "INSERT INTO routes (agent, active, fence, fallback) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (agent) DO UPDATE SET active = ?2, fence = ?3, fallback = ?4",
                params![agent.as_str(), route.active.map(|it| it.0), route.fence.0, route.fallback.map(|it| it.0)],
            ),
            Change::Opened { instance, generation: _ } | Change::DrainOver { instance } => {
                self.run("UPDATE instances SET drain_limit = NULL WHERE instance = ?1", params![instance.0])
            }
            Change::Retired { instance, limit } => {
                self.run("UPDATE instances SET drain_limit = ?2 WHERE instance = ?1", params![instance.0, limit.0])
            }
            // The route and the generation that it made are changes of their own.
            Change::FellBack { .. } => Ok(()),
            Change::Queued { task } => self.queued(task, content),
            Change::Leased { id, attempts, lease } => self.run(
                "UPDATE tasks SET attempts = ?2, instance = ?3, served_agent = ?4, served = ?5, fence = ?6, granted = ?7
                 WHERE id = ?1",
                params![
                    id.as_str(),
                    attempts,
                    lease.instance.0,
                    lease.agent.as_str(),
                    lease.side.to_string(),
                    lease.fence.0,
                    lease.granted_at.0
                ],
            ),
            Change::LeaseLost { task, .. } => self.run(
                "UPDATE tasks SET revoked = ?2, instance = NULL, served_agent = NULL, served = NULL, fence = NULL,
                                  granted = NULL
                 WHERE id = ?1",
                params![task.id.as_str(), task.revoked],
            ),
            Change::Finished { task, seq, at, by, lease_micros: _ } => {
                self.finished(task, *seq, *at, by.as_ref(), content)
            }
        }
    }

    /// Gives the record the number that follows, and drops those that are kept no longer.
    pub(crate) fn spool(&mut self, second: &Second) -> Result<(), StoreError> {
        self.set_meta("last_second", &second.number)?;
        let record = self.text(second)?;
        self.run("INSERT INTO seconds (number, record) VALUES (?1, ?2)", params![second.number, record])?;
        self.run("DELETE FROM seconds WHERE number <= ?1", params![second.number.saturating_sub(limits::SECONDS_KEPT)])
    }

    /// Deletes ended tasks that are older than the retention, the oldest first. Returns how many had completed
    /// and how many had failed.
    pub(crate) fn purge(&mut self, now: UnixMillis, retention: Millis) -> Result<(u64, u64), StoreError> {
        let before = now.0.saturating_sub(retention.0);
        let sql = "DELETE FROM tasks WHERE id IN
                       (SELECT id FROM tasks WHERE seq IS NOT NULL AND finished < ?1 ORDER BY finished LIMIT ?2)
                   RETURNING status = 'completed'";
        let connection = self.begin()?;
        let mut statement = connection.prepare_cached(sql).during("purged")?;
        let mut gone = (0, 0);
        let ended =
            statement.query_map(params![before, limits::PURGE_ROWS], |row| row.get::<_, bool>(0)).during("purged")?;
        for completed in ended {
            *(if completed.during("purged")? { &mut gone.0 } else { &mut gone.1 }) += 1;
        }
        Ok(gone)
    }

    fn queued(&mut self, task: &Task, body: &[u8]) -> Result<(), StoreError> {
        self.set_meta("last_order", &task.order)?;
        self.run(
            "INSERT INTO tasks (id, place, agent, agent_type, drawn, chance, attempts, revoked, submitted, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8)",
            params![
                task.id.as_str(),
                task.order,
                task.agent.as_str(),
                task.agent_type.as_str(),
                task.draw.map(|draw| draw.side.to_string()),
                task.draw.map(|draw| draw.chance),
                task.submitted.0,
                body
            ],
        )
    }

    fn finished(
        &mut self,
        task: &Task,
        seq: u64,
        at: UnixMillis,
        by: Option<&(Report, Lease)>,
        result: &[u8],
    ) -> Result<(), StoreError> {
        let status = match by {
            Some((Report::Completed { .. }, _)) => "completed",
            Some((Report::Failed, _)) | None => "failed",
        };
        self.set_meta("last_seq", &seq)?;
        self.run(
            "UPDATE tasks SET seq = ?2, status = ?3, finished = ?4, result = ?5 WHERE id = ?1",
            params![task.id.as_str(), seq, status, at.0, (!result.is_empty()).then_some(result)],
        )
    }

    fn set_meta(&mut self, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let value = self.text(value)?;
        self.run(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
            params![key, value],
        )
    }

    fn run(&mut self, sql: &str, values: &[&dyn ToSql]) -> Result<(), StoreError> {
        self.begin()?.prepare_cached(sql).and_then(|mut it| it.execute(values)).map(drop).during("written to")
    }

    fn text(&self, value: &impl Serialize) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|error| StoreError::Failed {
            action: "written to",
            source: rusqlite::Error::ToSqlConversionFailure(Box::new(error)),
        })
    }
}
