//! Everything that lives on after a restart, read at once.

use std::{collections::HashSet, net::Ipv4Addr};

use bellwether_core::{
    id::{AgentName, AgentType, Fence, Generation, InstanceId, InstanceToken, ModelName, Side},
    port::gateway::InstanceCard,
    spec::Delivery,
    time::{Nanos, UnixMillis},
    traffic::{Draw, End, Enrolled, Lease, Priority, Route, Snapshot, State, Task, TaskId},
};
use rusqlite::{OptionalExtension as _, Row};
use serde::{Serialize, de::DeserializeOwned};

use super::{During as _, Store, StoreError};

#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) snapshot: Snapshot,
    /// Tokens of forgotten instances.
    pub(crate) revoked: HashSet<String>,
    pub(crate) last_second: u64,
    /// Tasks that have ended and are still kept.
    pub(crate) ended: Ends,
}

/// Tasks by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Ends {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) expired: u64,
    pub(crate) cancelled: u64,
}

impl Ends {
    pub(crate) fn take(&mut self, gone: Self) {
        for how in [End::Completed, End::Failed, End::Expired, End::Cancelled] {
            let mut gone = gone;
            let left = self.of(how);
            *left = left.saturating_sub(*gone.of(how));
        }
    }

    pub(crate) fn of(&mut self, how: End) -> &mut u64 {
        match how {
            End::Completed => &mut self.completed,
            End::Failed => &mut self.failed,
            End::Expired => &mut self.expired,
            End::Cancelled => &mut self.cancelled,
        }
    }
}

/// What [`Store::task`] reads, in its order.
pub(super) const TASK: &str = "id, place, agent, agent_type, drawn, chance, attempts, revoked, submitted, instance,
    served_agent, served, fence, granted, rank, priority, bytes, attempts_max, not_before, begin_by, failed_by,
    failed_attempt";

impl Store {
    pub(crate) fn load(&mut self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        let snapshot = &mut loaded.snapshot;
        snapshot.generation = Generation(self.meta("generation")?.unwrap_or_default());
        snapshot.moves = self.meta("moves")?.unwrap_or_default();
        // What retention took away must not make a number be used twice.
        snapshot.last_order = self.meta("last_order")?.unwrap_or_default();
        snapshot.last_seq = self.meta("last_seq")?.unwrap_or_default();
        for enrolled in self.rows("SELECT card, places, gone, drain_limit FROM instances", Self::instance)? {
            snapshot.instances.insert(enrolled.card.instance, enrolled);
        }
        snapshot.routes = self
            .rows("SELECT agent, active, fence, fallback FROM routes", |_, row| {
                let route = Route {
                    active: row.get::<_, Option<u64>>(1).during("read")?.map(InstanceId),
                    fence: Fence(row.get(2).during("read")?),
                    fallback: row.get::<_, Option<u64>>(3).during("read")?.map(InstanceId),
                };
                Ok((AgentName::new(row.get::<_, String>(0).during("read")?), route))
            })?
            .into_iter()
            .collect();
        snapshot.tasks = self
            .rows(&format!("SELECT {TASK} FROM tasks WHERE seq IS NULL"), |store, row| {
                let task = store.task(row)?;
                Ok((task.id.clone(), task))
            })?
            .into_iter()
            .collect();
        loaded.revoked = self
            .rows("SELECT token FROM revoked", |_, row| row.get::<_, String>(0).during("read"))?
            .into_iter()
            .collect();
        loaded.last_second = self.meta("last_second")?.unwrap_or_default();
        let counts = "SELECT status, COUNT(*), SUM(kept) FROM tasks WHERE seq IS NOT NULL GROUP BY 1";
        let counted = self.rows(counts, |store, row| {
            let number = |column| row.get::<_, u64>(column).during("read");
            Ok((store.end(&row.get::<_, String>(0).during("read")?)?, number(1)?, number(2)?))
        })?;
        self.kept_bytes = counted.iter().map(|(_, _, kept)| kept).sum();
        counted.into_iter().for_each(|(how, count, _)| *loaded.ended.of(how) += count);
        Ok(loaded)
    }

    pub(super) fn meta<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self
            .connection
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .during("read")?;
        text.map(|text| self.parsed(&text, key)).transpose()
    }

    fn rows<T>(
        &self,
        sql: &str,
        read: impl Fn(&Self, &Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.connection.prepare(sql).during("read")?;
        let mut rows = statement.query(()).during("read")?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().during("read")? {
            all.push(read(self, row)?);
        }
        Ok(all)
    }

    fn instance(&self, row: &Row<'_>) -> Result<Enrolled, StoreError> {
        let card: StoredCard = self.parsed(&row.get::<_, String>(0).during("read")?, "instances.card")?;
        Ok(Enrolled {
            card: card.into(),
            places: row.get(1).during("read")?,
            gone: row.get(2).during("read")?,
            drain_limit: row.get::<_, Option<u64>>(3).during("read")?.map(UnixMillis),
        })
    }

    pub(super) fn task(&self, row: &Row<'_>) -> Result<Task, StoreError> {
        let text = |column| row.get::<_, String>(column).during("read");
        let side = |column| self.side(row.get::<_, Option<String>>(column).during("read")?);
        let draw = match (side(4)?, row.get(5).during("read")?) {
            (Some(side), Some(chance)) => Some(Draw { side, chance }),
            _ => None,
        };
        let state = match (row.get::<_, Option<u64>>(9).during("read")?, side(11)?) {
            (Some(instance), Some(side)) => State::Leased(Lease {
                instance: InstanceId(instance),
                agent: AgentName::new(text(10)?),
                side,
                fence: Fence(row.get(12).during("read")?),
                // Monotonic times do not outlive a process; the machine makes new ones.
                granted: Nanos::default(),
                granted_at: UnixMillis(row.get(13).during("read")?),
                deadline: Nanos::default(),
            }),
            _ => match row.get::<_, Option<u64>>(18).during("read")? {
                Some(until) => State::Delayed { until: UnixMillis(until), due: Nanos::default() },
                None => State::Queued { since: Nanos::default() },
            },
        };
        let priority: String = text(15)?;
        let priority: Priority = priority.parse().map_err(|error| self.damaged(format!("tasks.priority: {error}")))?;
        let failed_by = match (row.get::<_, Option<u64>>(20).during("read")?, row.get(21).during("read")?) {
            (Some(instance), Some(attempt)) => Some((InstanceId(instance), attempt)),
            _ => None,
        };
        Ok(Task {
            id: TaskId::new(text(0)?),
            order: row.get(1).during("read")?,
            agent: AgentName::new(text(2)?),
            agent_type: AgentType::new(text(3)?),
            draw,
            attempts: row.get(6).during("read")?,
            revoked: row.get(7).during("read")?,
            submitted: UnixMillis(row.get(8).during("read")?),
            rank: row.get(14).during("read")?,
            priority,
            bytes: row.get(16).during("read")?,
            attempts_max: row.get(17).during("read")?,
            begin_by: row.get::<_, Option<u64>>(19).during("read")?.map(UnixMillis),
            begin_due: None,
            failed_by,
            state,
        })
    }

    pub(super) fn end(&self, text: &str) -> Result<End, StoreError> {
        let all = [End::Completed, End::Failed, End::Expired, End::Cancelled];
        all.into_iter().find(|end| end.as_str() == text).ok_or_else(|| self.damaged(format!("{text:?} is no end")))
    }

    pub(super) fn side(&self, text: Option<String>) -> Result<Option<Side>, StoreError> {
        match text.as_deref() {
            None => Ok(None),
            Some("blue") => Ok(Some(Side::Blue)),
            Some("green") => Ok(Some(Side::Green)),
            Some(other) => Err(self.damaged(format!("{other:?} is no side"))),
        }
    }

    pub(super) fn parsed<T: DeserializeOwned>(&self, text: &str, place: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|error| self.damaged(format!("{place}: {error}")))
    }
}

/// A card as it is stored. Apart from the port's type, so that the wire may change without the file.
#[derive(Serialize, serde::Deserialize)]
pub(super) struct StoredCard {
    instance: InstanceId,
    agent: AgentName,
    agent_type: AgentType,
    model: ModelName,
    side: Side,
    token: InstanceToken,
    address: Ipv4Addr,
    upstream: Option<std::net::SocketAddr>,
    #[serde(default)]
    delivery: Delivery,
}

impl From<StoredCard> for InstanceCard {
    fn from(it: StoredCard) -> Self {
        let StoredCard { instance, agent, agent_type, model, side, token, address, upstream, delivery } = it;
        Self { instance, agent, agent_type, model, side, token, address, upstream, delivery }
    }
}

impl From<InstanceCard> for StoredCard {
    fn from(it: InstanceCard) -> Self {
        let InstanceCard { instance, agent, agent_type, model, side, token, address, upstream, delivery } = it;
        Self { instance, agent, agent_type, model, side, token, address, upstream, delivery }
    }
}
