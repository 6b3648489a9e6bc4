//! Changes as rows.

use bellwether_core::{
    observation::Second,
    time::{Millis, UnixMillis},
    traffic::{Change, End, LeaseEnd, State, Task},
};
use rusqlite::{ToSql, params};
use serde::Serialize;

use super::{During as _, Ends, Store, StoreError, load::StoredCard};
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
            Change::LeaseLost { task, end, lease: _ } => self.returned(task, said_of(*end).as_bytes()),
            Change::Retried { task, .. } => self.returned(task, content),
            Change::Checkpoint { id } => {
                self.run("UPDATE tasks SET checkpoint = ?2 WHERE id = ?1", params![id.as_str(), content])
            }
            Change::Revived { task } => self.revived(task),
            Change::Finished { task, seq, at, how, .. } => self.finished(task, *seq, *at, *how, content),
        }
    }

    /// Gives the record the number that follows, and drops those that are kept no longer.
    pub(crate) fn spool(&mut self, second: &Second) -> Result<(), StoreError> {
        self.set_meta("last_second", &second.number)?;
        let record = self.text(second)?;
        self.run("INSERT INTO seconds (number, record) VALUES (?1, ?2)", params![second.number, record])?;
        self.run("DELETE FROM seconds WHERE number <= ?1", params![second.number.saturating_sub(limits::SECONDS_KEPT)])
    }

    /// Deletes ended tasks that are older than the retention, the oldest first. Returns how they had ended.
    pub(crate) fn purge(&mut self, now: UnixMillis, retention: Millis) -> Result<Ends, StoreError> {
        let before = now.0.saturating_sub(retention.0);
        let sql = "DELETE FROM tasks WHERE id IN
                       (SELECT id FROM tasks WHERE seq IS NOT NULL AND finished < ?1 ORDER BY finished LIMIT ?2)
                   RETURNING status";
        let connection = self.begin()?;
        let mut statement = connection.prepare_cached(sql).during("purged")?;
        let ended =
            statement.query_map(params![before, limits::PURGE_ROWS], |row| row.get::<_, String>(0)).during("purged")?;
        let statuses = ended.collect::<Result<Vec<_>, _>>().during("purged")?;
        drop(statement);
        let mut gone = Ends::default();
        for status in statuses {
            *gone.of(self.end(&status)?) += 1;
        }
        Ok(gone)
    }

    fn queued(&mut self, task: &Task, body: &[u8]) -> Result<(), StoreError> {
        self.numbers.order = Some(task.order);
        self.run(
            "INSERT INTO tasks (id, place, agent, agent_type, drawn, chance, attempts, revoked, submitted, body, rank,
                                priority, bytes, attempts_max, not_before, begin_by)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            params![
                task.id.as_str(),
                task.order,
                task.agent.as_str(),
                task.agent_type.as_str(),
                task.draw.map(|draw| draw.side.to_string()),
                task.draw.map(|draw| draw.chance),
                task.submitted.0,
                body,
                task.rank,
                task.priority.as_str(),
                task.bytes,
                task.attempts_max,
                not_before(task),
                task.begin_by.map(|by| by.0),
            ],
        )
    }

    /// The task has no holder any more and has not ended.
    fn returned(&mut self, task: &Task, error: &[u8]) -> Result<(), StoreError> {
        self.run(
            "UPDATE tasks SET revoked = ?2, instance = NULL, served_agent = NULL, served = NULL, fence = NULL,
                              granted = NULL, not_before = ?3, failed_by = ?4, failed_attempt = ?5, error = ?6
             WHERE id = ?1",
            params![
                task.id.as_str(),
                task.revoked,
                not_before(task),
                task.failed_by.map(|(instance, _)| instance.0),
                task.failed_by.map(|(_, attempt)| attempt),
                (!error.is_empty()).then_some(error),
            ],
        )
    }

    fn revived(&mut self, task: &Task) -> Result<(), StoreError> {
        self.numbers.order = Some(task.order);
        self.run(
            "UPDATE tasks SET place = ?2, rank = ?3, attempts_max = ?4, begin_by = NULL, not_before = NULL,
                              instance = NULL, served_agent = NULL, served = NULL, fence = NULL, granted = NULL,
                              failed_by = NULL, failed_attempt = NULL, seq = NULL, status = NULL, finished = NULL,
                              result = NULL
             WHERE id = ?1",
            params![task.id.as_str(), task.order, task.rank, task.attempts_max],
        )
    }

    fn finished(&mut self, task: &Task, seq: u64, at: UnixMillis, how: End, result: &[u8]) -> Result<(), StoreError> {
        self.numbers.seq = Some(seq);
        self.run(
            "UPDATE tasks SET seq = ?2, status = ?3, finished = ?4, result = ?5 WHERE id = ?1",
            params![task.id.as_str(), seq, how.as_str(), at.0, (!result.is_empty()).then_some(result)],
        )
    }

    pub(super) fn set_meta(&mut self, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
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

fn not_before(task: &Task) -> Option<u64> {
    match task.state {
        State::Delayed { until, .. } => Some(until.0),
        State::Queued { .. } | State::Leased(_) => None,
    }
}

/// What people are told of an attempt that ended without a report, as JSON.
fn said_of(end: LeaseEnd) -> &'static str {
    match end {
        LeaseEnd::Expired => "\"the lease expired without a sign of work\"",
        LeaseEnd::Revoked => "\"a rollout took it away\"",
        LeaseEnd::HolderGone => "\"its holder ended\"",
        LeaseEnd::Returned => "\"its holder was asked to end\"",
        LeaseEnd::AskedAgain => "\"its holder asked for a task again\"",
        LeaseEnd::Undelivered => "\"it did not reach its holder\"",
        LeaseEnd::Cancelled => "",
    }
}
