//! Samples of memory, CPU and availability: evidence beside the events, kept for a day. What cannot be written is missing,
//! and nothing waits for it.

use rusqlite::params;

use super::Journal;
use crate::error::Error;

impl Journal {
    pub(crate) fn put_usage(&self, wall_ms: u64, sample: &str, keep_ms: u64) -> Result<(), Error> {
        self.db
            .execute(
                "INSERT OR REPLACE INTO usage (wall_ms, sample) VALUES (?, ?)",
                params![wall_ms.cast_signed(), sample],
            )
            .and_then(|_| {
                self.db.execute("DELETE FROM usage WHERE wall_ms < ?", [wall_ms.saturating_sub(keep_ms).cast_signed()])
            })
            .map_err(Error::WriteJournal)?;
        Ok(())
    }

    /// How many agents no ready instance served when this one-second record was closed.
    pub(crate) fn put_availability(&self, second: u64, without_ready: u32, keep: u64) -> Result<(), Error> {
        self.db
            .execute(
                "INSERT OR REPLACE INTO availability (second, without_ready) VALUES (?, ?)",
                params![second.cast_signed(), without_ready],
            )
            .and_then(|_| {
                self.db
                    .execute("DELETE FROM availability WHERE second < ?", [second.saturating_sub(keep).cast_signed()])
            })
            .map_err(Error::WriteJournal)?;
        Ok(())
    }

    /// Of the records in `(after, until]`.
    pub(crate) fn availability(&self, after: u64, until: u64) -> Result<Vec<u32>, Error> {
        let unreadable = |source| self.unreadable(source);
        let mut samples = self
            .db
            .prepare_cached("SELECT without_ready FROM availability WHERE second > ? AND second <= ? ORDER BY second")
            .map_err(unreadable)?;
        let until = until.min(i64::MAX.cast_unsigned());
        let rows =
            samples.query_map([after.cast_signed(), until.cast_signed()], |row| row.get(0)).map_err(unreadable)?;
        rows.collect::<Result<_, _>>().map_err(unreadable)
    }

    pub(crate) fn usage(&self, from_ms: u64, until_ms: u64) -> Result<Vec<String>, Error> {
        let samples = self.timed_usage(from_ms, until_ms)?;
        Ok(samples.into_iter().map(|(_, sample)| sample).collect())
    }

    /// With the moment of each sample, in milliseconds since 1970.
    pub(crate) fn timed_usage(&self, from_ms: u64, until_ms: u64) -> Result<Vec<(u64, String)>, Error> {
        let unreadable = |source| self.unreadable(source);
        let mut samples = self
            .db
            .prepare_cached("SELECT wall_ms, sample FROM usage WHERE wall_ms BETWEEN ? AND ? ORDER BY wall_ms")
            .map_err(unreadable)?;
        let rows = samples
            .query_map([from_ms.cast_signed(), until_ms.cast_signed()], |row| {
                Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))
            })
            .map_err(unreadable)?;
        rows.collect::<Result<_, _>>().map_err(unreadable)
    }
}
