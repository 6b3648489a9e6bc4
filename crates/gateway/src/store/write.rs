//! Changes as rows.

use bellwether_core::{
    observation::Second,
    time::UnixMillis,
    traffic::{Change, End, LeaseEnd, Report, State, Task, TaskId},
};
use rusqlite::{Row, ToSql, params};
use serde::Serialize;

use super::{During as _, Store, StoreError, load::StoredCard};
use crate::{limits, said};

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
            Change::LeaseLost { task, end, lease: _ } => self.returned(task, said_of(*end)),
            Change::Retried { task, report, .. } => self.returned(task, &reported(*report, content)),
            Change::Checkpoint { id } => self.checkpointed(id, content),
            Change::Revived { task } => self.revived(task),
            Change::Finished { task, seq, at, how, by, .. } => {
                let end = EndRow { seq: *seq, at: *at, how: *how, report: by.as_ref().map(|(report, _)| *report) };
                self.finished(task, end, content)
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

    fn queued(&mut self, task: &Task, body: &[u8]) -> Result<(), StoreError> {
        self.numbers.order = Some(task.order);
        self.run(
            "INSERT INTO tasks (number, id, place, agent, agent_type, drawn, chance, attempts, revoked, submitted, rank,
                                priority, bytes, attempts_max, not_before, begin_by)
             VALUES (?2, ?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                task.id.as_str(),
                task.order,
                task.agent.as_str(),
                task.agent_type.as_str(),
                task.draw.map(|draw| draw.side.to_string()),
                task.draw.map(|draw| draw.chance),
                task.submitted.0,
                task.rank,
                task.priority.as_str(),
                task.bytes,
                task.attempts_max,
                not_before(task),
                task.begin_by.map(|by| by.0),
            ],
        )?;
        self.run("INSERT INTO bodies (number, body) VALUES (?1, ?2)", params![task.order, body])
    }

    /// The task has no holder any more and has not ended.
    fn returned(&mut self, task: &Task, error: &str) -> Result<(), StoreError> {
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
                error,
            ],
        )
    }

    fn checkpointed(&mut self, id: &TaskId, checkpoint: &[u8]) -> Result<(), StoreError> {
        self.run("UPDATE tasks SET checkpoint_bytes = ?2 WHERE id = ?1", params![id.as_str(), checkpoint.len()])?;
        self.run(
            "INSERT INTO checkpoints (number, checkpoint) SELECT number, ?2 FROM tasks WHERE id = ?1
             ON CONFLICT (number) DO UPDATE SET checkpoint = ?2",
            params![id.as_str(), checkpoint],
        )
    }

    fn revived(&mut self, task: &Task) -> Result<(), StoreError> {
        self.numbers.order = Some(task.order);
        let sql = "SELECT number, kept FROM tasks WHERE id = ?1 AND seq IS NOT NULL";
        let Some((number, kept)) = self.one(sql, &task.id, |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?)))?
        else {
            return Err(self.damaged(format!("task {} has not ended", task.id)));
        };
        self.kept_bytes = self.kept_bytes.saturating_sub(kept);
        self.run("DELETE FROM results WHERE number = ?1", params![number])?;
        self.run(
            "UPDATE tasks SET place = ?2, rank = ?3, attempts_max = ?4, begin_by = NULL, not_before = NULL,
                              instance = NULL, served_agent = NULL, served = NULL, fence = NULL, granted = NULL,
                              failed_by = NULL, failed_attempt = NULL, seq = NULL, status = NULL, finished = NULL,
                              kept = NULL
             WHERE number = ?1",
            params![number, task.order, task.rank, task.attempts_max],
        )
    }

    /// What is done needs its checkpoint no more; of what is not, another attempt may go on from there.
    fn finished(&mut self, task: &Task, end: EndRow, result: &[u8]) -> Result<(), StoreError> {
        self.numbers.seq = Some(end.seq);
        let is_done = end.how == End::Completed;
        // Of a task that was given up, what its last lease ended with stays.
        let is_said = end.how != End::Failed || end.report.is_some();
        let error = end.error(result);
        let sql = "UPDATE tasks SET seq = ?2, status = ?3, finished = ?4, not_before = NULL,
                       kept = bytes + ?5 + iif(?6, 0, ifnull(checkpoint_bytes, 0)), error = iif(?7, ?8, error)
                   WHERE id = ?1 RETURNING number, kept, checkpoint_bytes IS NOT NULL";
        let mut statement = self.begin()?.prepare_cached(sql).during("written to")?;
        let (id, how) = (task.id.as_str(), end.how.as_str());
        let values = params![id, end.seq, how, end.at.0, result.len(), is_done, is_said, error];
        let read = |row: &Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?, row.get::<_, bool>(2)?));
        let (number, kept, has_checkpoint) = statement.query_row(values, read).during("written to")?;
        drop(statement);
        self.kept_bytes += kept;
        if !result.is_empty() {
            self.run("INSERT INTO results (number, result) VALUES (?1, ?2)", params![number, result])?;
        }
        if is_done && has_checkpoint {
            self.run("UPDATE tasks SET checkpoint_bytes = NULL WHERE number = ?1", params![number])?;
            self.run("DELETE FROM checkpoints WHERE number = ?1", params![number])?;
        }
        Ok(())
    }

    pub(super) fn set_meta(&mut self, key: &str, value: &impl Serialize) -> Result<(), StoreError> {
        let value = self.text(value)?;
        self.run(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
            params![key, value],
        )
    }

    pub(super) fn run(&mut self, sql: &str, values: &[&dyn ToSql]) -> Result<(), StoreError> {
        self.begin()?.prepare_cached(sql).and_then(|mut it| it.execute(values)).map(drop).during("written to")
    }

    fn text(&self, value: &impl Serialize) -> Result<String, StoreError> {
        serde_json::to_string(value).map_err(|error| StoreError::Failed {
            action: "written to",
            source: rusqlite::Error::ToSqlConversionFailure(Box::new(error)),
        })
    }
}

/// How a task ended.
struct EndRow {
    seq: u64,
    at: UnixMillis,
    how: End,
    /// Of its holder, where that ended it.
    report: Option<Report>,
}

impl EndRow {
    fn error(&self, result: &[u8]) -> Option<String> {
        match self.how {
            End::Completed => None,
            End::Failed => self.report.map(|report| reported(report, result)),
            End::Expired => Some("it was not begun in time".to_owned()),
            End::Cancelled => Some("it was cancelled".to_owned()),
        }
    }
}

fn not_before(task: &Task) -> Option<u64> {
    match task.state {
        State::Delayed { until, .. } => Some(until.0),
        State::Queued { .. } | State::Leased(_) => None,
    }
}

/// What people are told of an attempt that was reported as failed.
fn reported(report: Report, content: &[u8]) -> String {
    match content {
        _ if report != Report::Failed => "its result carries less than it must".to_owned(),
        [] => "its holder reported a failure and said no more".to_owned(),
        content => said::text(content, limits::ERROR_CHARS),
    }
}

/// What people are told of an attempt that ended without a report.
fn said_of(end: LeaseEnd) -> &'static str {
    match end {
        LeaseEnd::Expired => "the lease expired without a sign of work",
        LeaseEnd::Revoked => "a rollout took it away",
        LeaseEnd::HolderGone => "its holder ended",
        LeaseEnd::Returned => "its holder was asked to end",
        LeaseEnd::AskedAgain => "its holder asked for a task again",
        LeaseEnd::Undelivered => "it did not reach its holder",
        LeaseEnd::Cancelled => "it was cancelled",
    }
}
