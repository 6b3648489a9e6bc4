//! What the records up to one of them come to. Replay is the newest snapshot that can be used, and the records after it.

use bellwether_core::{
    rollout::{Controller, Event, VerbKind},
    time::{Now, UnixMillis},
};
use bellwether_store::BUILD;
use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::{Journal, checksum};
use crate::{error::Error, measured::Boots};

/// All that a controller knows from its journal alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) machine: Controller,
    #[serde(default)]
    pub(crate) boots: Boots,
    #[serde(default)]
    pub(crate) decided: UnixMillis,
    #[serde(default)]
    pub(crate) began: i64,
}

impl Memory {
    /// Takes one record.
    pub(crate) fn replay(&mut self, seq: i64, now: Now, event: Event) -> Result<(), String> {
        self.machine.step(now, event.clone()).map_err(|refusal| refusal.to_string())?;
        self.boots.happened(now.wall, &event, &self.machine);
        (self.decided, self.began) = noted((self.decided, self.began), seq, now, &event);
        Ok(())
    }
}

/// When somebody or something last decided, so that alarms up to there are dealt with; and which record began the last
/// rollout.
pub(crate) fn noted(so_far: (UnixMillis, i64), seq: i64, now: Now, event: &Event) -> (UnixMillis, i64) {
    let (decided, began) = so_far;
    match event {
        Event::Verb(verb) if lets_go_on(verb.verb) => (now.wall, began),
        Event::Alarm { .. } => (now.wall, began),
        Event::Planned { .. } => (decided, seq),
        // Nothing else decides, and nothing else begins.
        _ => (decided, began),
    }
}

fn lets_go_on(verb: VerbKind) -> bool {
    match verb {
        VerbKind::Resume | VerbKind::Promote | VerbKind::Approve => true,
        VerbKind::Pause | VerbKind::Retry | VerbKind::Reject | VerbKind::Rollback | VerbKind::Commit => false,
    }
}

/// A snapshot as it is stored.
struct Stored {
    seq: i64,
    form: u32,
    build: String,
    body: String,
    check: i64,
}

/// What is wrong with one that cannot be used.
struct Useless {
    seq: i64,
    build: String,
    why: String,
}

impl Journal {
    /// What everything up to a record comes to, and that record's number; zero where the records tell it all.
    pub(crate) fn snapshot(&self) -> Result<(i64, Memory), Error> {
        let mut useless: Option<Useless> = None;
        for stored in self.stored()? {
            let (seq, build) = (stored.seq, stored.build.clone());
            match read(stored) {
                Ok(memory) if self.goes_on_after(seq)? => return Ok((seq, memory)),
                Ok(_) => {}
                Err(why) => {
                    tracing::warn!(record = seq, build, why, "a snapshot of the journal cannot be used");
                    useless.get_or_insert(Useless { seq, build, why });
                }
            }
        }
        if self.goes_on_after(0)? {
            return Ok((0, Memory::default()));
        }
        let path = self.path.clone();
        Err(match useless {
            Some(Useless { seq, build, why }) => Error::SnapshotLost { path, seq, build, why },
            None => Error::Unreplayable {
                path,
                seq: 1,
                why: "the records before the first one that is there are gone".into(),
            },
        })
    }

    /// Puts it beside the records, up to `seq`. The one before it is kept as well, and all records since.
    pub(crate) fn put_snapshot(&mut self, seq: i64, now: UnixMillis, memory: &Memory) -> Result<(), Error> {
        let body = serde_json::to_string(memory).map_err(|source| Error::CorruptRecord {
            path: self.path.clone(),
            seq,
            source,
        })?;
        let row = params![seq, now.0.cast_signed(), Controller::FORM, BUILD, body, checksum(seq, &body)];
        let put = || {
            let transaction = self.db.unchecked_transaction()?;
            transaction.execute(
                "INSERT OR REPLACE INTO snapshots (seq, wall_ms, form, build, body, check_crc) VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )?;
            transaction.execute(
                "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT 2)",
                (),
            )?;
            transaction.commit()
        };
        put().map_err(Error::WriteJournal)
    }

    /// Of the newest one, whether it can be used or not.
    pub(crate) fn last_snapshot(&self) -> Result<i64, Error> {
        let sql = "SELECT ifnull(max(seq), 0) FROM snapshots";
        self.db.query_row(sql, (), |row| row.get(0)).map_err(|source| self.unreadable(source))
    }

    /// The newest first.
    fn stored(&self) -> Result<Vec<Stored>, Error> {
        let unreadable = |source| self.unreadable(source);
        let sql = "SELECT seq, form, build, body, check_crc FROM snapshots ORDER BY seq DESC";
        let mut statement = self.db.prepare(sql).map_err(unreadable)?;
        let rows = statement.query_map((), |row| {
            Ok(Stored {
                seq: row.get(0)?,
                form: row.get(1)?,
                build: row.get(2)?,
                body: row.get(3)?,
                check: row.get(4)?,
            })
        });
        rows.and_then(Iterator::collect).map_err(unreadable)
    }

    /// Whether no record behind this one is missing before the next that is there.
    fn goes_on_after(&self, seq: i64) -> Result<bool, Error> {
        let sql = "SELECT seq FROM events WHERE seq > ?1 ORDER BY seq LIMIT 1";
        let next: Option<i64> =
            self.db.query_row(sql, [seq], |row| row.get(0)).optional().map_err(|source| self.unreadable(source))?;
        Ok(match next {
            Some(next) => next == seq + 1,
            None => seq == self.last_snapshot()?,
        })
    }
}

fn read(stored: Stored) -> Result<Memory, String> {
    let Stored { seq, form, build: _, body, check } = stored;
    if checksum(seq, &body) != check {
        return Err("its checksum does not match".to_owned());
    }
    if form > Controller::FORM {
        return Err(format!("it has form {form}, and this build knows {}", Controller::FORM));
    }
    serde_json::from_str(&body).map_err(|error| error.to_string())
}
