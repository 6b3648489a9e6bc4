//! Old records go once a snapshot holds what they came to.

use std::time::Duration;

use bellwether_core::time::{Millis, UnixMillis};
use rusqlite::{OptionalExtension as _, params};

use super::Journal;
use crate::error::Error;

/// How long a record is kept at least.
pub(crate) const EVENTS_KEPT: Millis = Millis(Duration::from_secs(30 * 24 * 3600).as_millis() as u64);
/// A snapshot is made when so many records have come since the last one.
pub(crate) const SNAPSHOT_EVERY: i64 = 5000;
/// Records that go in one transaction, so that nobody waits for a great clean-up.
const STEP: i64 = 1000;

impl Journal {
    /// Drops the oldest records that were made before this moment, none from `began` on, and none that the older of two
    /// snapshots does not hold. True if there may be more to drop.
    pub(crate) fn forget(&mut self, before: UnixMillis, began: i64) -> Result<bool, Error> {
        let older = "SELECT seq FROM snapshots ORDER BY seq DESC LIMIT 1 OFFSET 1";
        let held: Option<i64> =
            self.db.query_row(older, (), |row| row.get(0)).optional().map_err(Error::WriteJournal)?;
        let Some(held) = held else { return Ok(false) };
        let last = if began > 0 { held.min(began - 1) } else { held };
        // Only from the front: what is left has to be without a gap, whatever the wall clock did.
        let first_kept = "SELECT min(seq) FROM (SELECT seq, wall_ms FROM events WHERE seq <= ?1 ORDER BY seq LIMIT ?2)
                          WHERE wall_ms >= ?3";
        let before = before.0.min(i64::MAX.cast_unsigned()).cast_signed();
        let kept: Option<i64> = self
            .db
            .query_row(first_kept, params![last, STEP, before], |row| row.get(0))
            .map_err(Error::WriteJournal)?;
        let sql = "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq <= ?1 ORDER BY seq LIMIT ?2)";
        let last = kept.map_or(last, |kept| last.min(kept - 1));
        let gone = self.db.execute(sql, params![last, STEP]).map_err(Error::WriteJournal)?;
        Ok(kept.is_none() && i64::try_from(gone).is_ok_and(|gone| gone >= STEP))
    }
}
