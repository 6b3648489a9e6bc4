//! What can stop a controller.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the journal {path}")]
    OpenJournal {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error(
        "the journal {path} was written by a later version (schema {found}, this build knows {known}); start that version again, or use another state directory"
    )]
    LaterSchema { path: PathBuf, found: i64, known: i64 },
    #[error(
        "journal record {seq} cannot be read; the controller stops here and traffic goes on. Restore the journal from a backup, or move it away to start a fresh history"
    )]
    CorruptRecord {
        seq: i64,
        #[source]
        source: serde_json::Error,
    },
    #[error("journal record {seq} does not follow from the records before it: {why}")]
    Unreplayable { seq: i64, why: String },
    #[error("cannot write to the journal; the controller stops and traffic goes on")]
    WriteJournal(#[source] rusqlite::Error),
    #[error("cannot read or write {path}")]
    State {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the fleet file declares other agents than this state directory holds: {0}")]
    OtherFleet(String),
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    #[error("the control API cannot listen")]
    Listen(#[source] std::io::Error),
}
