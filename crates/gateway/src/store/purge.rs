//! Tasks that have ended go when they were kept long enough, or when there is no room for them.
//!
//! In steps that are bounded in rows and bytes, so that whoever waits for the writer does not wait for a great clean-up.

use bellwether_core::time::{Millis, UnixMillis};
use rusqlite::params;

use super::{During as _, Ends, Store, StoreError};
use crate::limits;

/// What one step took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purged {
    pub(crate) gone: Ends,
    /// There is more to take away.
    pub(crate) more: bool,
}

impl Store {
    /// Deletes tasks that ended longer than `retention` ago, and as many of the oldest as take up more than `bytes_max`.
    pub(crate) fn purge(&mut self, now: UnixMillis, retention: Millis, bytes_max: u64) -> Result<Purged, StoreError> {
        let before = now.0.saturating_sub(retention.0);
        let mut purged = Purged::default();
        let mut freed = 0;
        for old in self.oldest()? {
            if old.finished >= before && self.kept_bytes <= bytes_max {
                return Ok(purged);
            }
            self.forget(&old)?;
            self.kept_bytes = self.kept_bytes.saturating_sub(old.kept);
            *purged.gone.of(self.end(&old.status)?) += 1;
            purged.more = true;
            freed += old.kept;
            if freed > limits::PURGE_BYTES {
                return Ok(purged);
            }
        }
        Ok(purged)
    }

    /// Gives pages back to the disk that have been free since a great clean-up, a few at a time. What comes and goes finds
    /// room in the file without it growing. False if there is nothing to give back.
    pub(crate) fn shrink(&mut self) -> Result<bool, StoreError> {
        let number = |pragma: &str| {
            let sql = format!("PRAGMA {pragma}");
            self.connection.query_row(&sql, (), |row| row.get::<_, u64>(0)).during("purged")
        };
        let free = number("freelist_count")?;
        // A file of the version before gives nothing back.
        let can_shrink = number("auto_vacuum")? == 2;
        if !can_shrink || free < limits::FREE_PAGES_MIN || free < number("page_count")? / 4 {
            return Ok(false);
        }
        let sql = format!("PRAGMA incremental_vacuum({})", limits::SHRINK_PAGES);
        let mut statement = self.begin()?.prepare_cached(&sql).during("purged")?;
        let mut rows = statement.query(()).during("purged")?;
        // Each step gives one page back.
        while rows.next().during("purged")?.is_some() {}
        Ok(true)
    }

    fn oldest(&self) -> Result<Vec<Old>, StoreError> {
        let sql = "SELECT number, status, kept, checkpoint_bytes IS NOT NULL, finished FROM tasks
                   WHERE seq IS NOT NULL ORDER BY finished LIMIT ?1";
        let mut statement = self.connection.prepare_cached(sql).during("purged")?;
        let rows = statement
            .query_map([limits::PURGE_ROWS], |row| {
                Ok(Old {
                    number: row.get(0)?,
                    status: row.get(1)?,
                    kept: row.get(2)?,
                    has_checkpoint: row.get(3)?,
                    finished: row.get(4)?,
                })
            })
            .during("purged")?;
        rows.collect::<Result<_, _>>().during("purged")
    }

    fn forget(&mut self, old: &Old) -> Result<(), StoreError> {
        self.run("DELETE FROM tasks WHERE number = ?1", params![old.number])?;
        self.run("DELETE FROM bodies WHERE number = ?1", params![old.number])?;
        self.run("DELETE FROM results WHERE number = ?1", params![old.number])?;
        if old.has_checkpoint {
            self.run("DELETE FROM checkpoints WHERE number = ?1", params![old.number])?;
        }
        Ok(())
    }
}

struct Old {
    number: u64,
    status: String,
    kept: u64,
    has_checkpoint: bool,
    finished: u64,
}
