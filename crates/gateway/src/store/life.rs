//! Whether the gateway before this one came to an orderly end.
//!
//! A mark, set while a gateway is at work. Where the disk is too full for it the gateway works all the same; then the next
//! one cannot tell how it ended.

use bellwether_core::observation::Second;
use rusqlite::OptionalExtension as _;

use super::{During as _, Store, StoreError};

const AT_WORK: &str = "at_work";

impl Store {
    /// Returns the last record of a gateway before this one that did not say that it ends, if it had written any. To be
    /// called once everything was read: what is damaged is left as it is.
    pub(crate) fn begin_work(&mut self) -> Result<Option<Second>, StoreError> {
        let broken_off = self.meta(AT_WORK)?.unwrap_or(false);
        self.mark(true)?;
        if broken_off { self.last_record() } else { Ok(None) }
    }

    /// Everything is written, and nobody asks any more.
    pub(crate) fn end_work(&mut self) -> Result<(), StoreError> {
        self.mark(false)
    }

    fn mark(&mut self, at_work: bool) -> Result<(), StoreError> {
        if let Err(error) = self.set_meta(AT_WORK, &at_work).and_then(|()| self.commit()) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the next gateway cannot tell how this one ended");
            self.roll_back()?;
        }
        Ok(())
    }

    fn last_record(&self) -> Result<Option<Second>, StoreError> {
        let sql = "SELECT record FROM seconds ORDER BY number DESC LIMIT 1";
        let text: Option<String> = self.connection.query_row(sql, (), |row| row.get(0)).optional().during("read")?;
        text.map(|text| self.parsed(&text, "seconds.record")).transpose()
    }
}
