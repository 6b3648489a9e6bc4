//! Tasks as people are shown them, one by one and in lists.

use bellwether_core::{
    id::Side,
    traffic::{State, Task, TaskId},
};
use rusqlite::{Row, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{During as _, Store, StoreError};
use crate::limits;

/// In the order of a task's life.
const STATES: [&str; 7] = ["delayed", "queued", "leased", "completed", "failed", "expired", "cancelled"];
/// How many of them are of tasks that have not ended.
const LIVE: usize = 3;
/// A task that ended without being done, against the will of its submitter.
const DEAD: &str = "dead";

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) agent: String,
    #[serde(rename = "type")]
    pub(crate) agent_type: String,
    pub(crate) state: &'static str,
    pub(crate) priority: String,
    pub(crate) attempts: u32,
    pub(crate) attempts_max: u32,
    pub(crate) drawn: Option<Side>,
    pub(crate) chance: Option<f64>,
    pub(crate) served: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) served_agent: Option<String>,
    pub(crate) submitted_ms: u64,
    pub(crate) not_before_ms: Option<u64>,
    pub(crate) begin_by_ms: Option<u64>,
    pub(crate) error: Option<String>,
    pub(crate) checkpoint: bool,
    #[serde(flatten)]
    pub(crate) end: Option<ShownEnd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Box<RawValue>>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ShownEnd {
    pub(crate) finished_ms: u64,
    pub(crate) seq: u64,
}

impl Shown {
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// What the machine knows better than the store: that a delay has passed is not written.
    pub(crate) fn update(&mut self, task: Option<&Task>) {
        if let Some(Task { state: State::Queued { .. }, .. }) = task {
            self.state = "queued";
            self.not_before_ms = None;
        }
    }
}

/// Which tasks are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// One of the states, or `dead`.
    pub(crate) state: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) agent_type: Option<String>,
}

/// Whether a list can be asked for by this word.
pub(crate) fn is_state(text: &str) -> bool {
    text == DEAD || STATES.contains(&text)
}

impl Filter {
    fn is_live(&self) -> bool {
        self.state.as_deref().is_some_and(|state| STATES[..LIVE].contains(&state))
    }

    /// Before the machine was asked, a task that is delayed may be queued.
    fn may_want(&self, status: Option<&str>, agent: &str, agent_type: &str) -> bool {
        let state = match (self.state.as_deref(), status) {
            (None, _) => true,
            (Some(DEAD), status) => matches!(status, Some("failed" | "expired")),
            (Some(_), None) => self.is_live(),
            (Some(wanted), Some(status)) => wanted == status,
        };
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        state && same(&self.agent, agent) && same(&self.agent_type, agent_type)
    }

    fn wants(&self, shown: &Shown) -> bool {
        shown.has_ended() || self.state.as_deref().is_none_or(|state| state == shown.state)
    }
}

/// What [`Store::shown_row`] reads, in its order.
const SHOWN: &str =
    "tasks.number, id, agent, agent_type, status, priority, attempts, attempts_max, drawn, chance, served,
    served_agent, submitted, not_before, begin_by, error, checkpoint_bytes, finished, seq, instance";

impl Store {
    /// With its result, if it has one.
    pub(crate) fn shown(&self, id: &TaskId) -> Result<Option<Shown>, StoreError> {
        let sql = format!("SELECT {SHOWN}, result FROM tasks LEFT JOIN results USING (number) WHERE id = ?1");
        let mut statement = self.connection.prepare_cached(&sql).during("read")?;
        let mut rows = statement.query([id.as_str()]).during("read")?;
        let Some(row) = rows.next().during("read")? else { return Ok(None) };
        let mut shown = self.shown_row(row)?;
        let result: Option<Vec<u8>> = row.get("result").during("read")?;
        if let Some(bytes) = result {
            shown.result = Some(self.parsed(&String::from_utf8_lossy(&bytes), "results.result")?);
        }
        Ok(Some(shown))
    }

    /// Tasks behind a number, without their results, up to `limit` of those that are wanted. Looks at a bounded number of
    /// tasks; if that was not all, the last of them is the second part.
    pub(crate) fn list<'t>(
        &self,
        filter: &Filter,
        after: u64,
        limit: usize,
        task: impl Fn(&TaskId) -> Option<&'t Task>,
    ) -> Result<(Vec<Shown>, Option<u64>), StoreError> {
        let live = if filter.is_live() { "seq IS NULL AND" } else { "" };
        let sql = format!("SELECT {SHOWN} FROM tasks WHERE {live} number > ?1 ORDER BY number LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&sql).during("read")?;
        let mut rows = statement.query(params![after, limits::LIST_STEP]).during("read")?;
        let (mut found, mut seen) = (Vec::new(), 0);
        let mut last = after;
        while let Some(row) = rows.next().during("read")? {
            if found.len() == limit {
                return Ok((found, Some(last)));
            }
            seen += 1;
            last = row.get(0).during("read")?;
            let text = |column| row.get_ref(column).map(|value| value.as_str_or_null().ok().flatten()).during("read");
            if !filter.may_want(text(4)?, text(2)?.unwrap_or_default(), text(3)?.unwrap_or_default()) {
                continue;
            }
            let mut shown = self.shown_row(row)?;
            if !shown.has_ended() {
                shown.update(task(&TaskId::new(shown.id.as_str())));
            }
            if filter.wants(&shown) {
                found.push(shown);
            }
        }
        Ok((found, (seen == limits::LIST_STEP).then_some(last)))
    }

    fn shown_row(&self, row: &Row<'_>) -> Result<Shown, StoreError> {
        let text = |column| row.get::<_, String>(column).during("read");
        let number = |column| row.get::<_, Option<u64>>(column).during("read");
        let side = |column| self.side(row.get::<_, Option<String>>(column).during("read")?);
        let not_before_ms = number(13)?;
        let end = match (number(17)?, number(18)?) {
            (Some(finished_ms), Some(seq)) => Some(ShownEnd { finished_ms, seq }),
            _ => None,
        };
        let state = match row.get::<_, Option<String>>(4).during("read")? {
            Some(status) if end.is_some() => self.end(&status)?.as_str(),
            _ if number(19)?.is_some() => "leased",
            _ if not_before_ms.is_some() => "delayed",
            _ => "queued",
        };
        Ok(Shown {
            id: text(1)?,
            agent: text(2)?,
            agent_type: text(3)?,
            state,
            priority: text(5)?,
            attempts: row.get(6).during("read")?,
            attempts_max: row.get(7).during("read")?,
            drawn: side(8)?,
            chance: row.get(9).during("read")?,
            served: side(10)?,
            served_agent: row.get(11).during("read")?,
            submitted_ms: row.get(12).during("read")?,
            not_before_ms: not_before_ms.filter(|_| state == "delayed"),
            begin_by_ms: number(14)?,
            error: row.get(15).during("read")?,
            checkpoint: number(16)?.is_some(),
            end,
            result: None,
        })
    }
}
