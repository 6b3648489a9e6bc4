//! What can stop a controller.

use std::path::PathBuf;

use bellwether_store::{CopyError, Refused, Remedy};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the journal {path}")]
    OpenJournal {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the journal cannot be kept as it is before its form changes, so nothing was changed")]
    Keep(#[from] CopyError),
    #[error("the journal {path} is damaged: record {seq} cannot be read")]
    CorruptRecord {
        path: PathBuf,
        seq: i64,
        #[source]
        source: serde_json::Error,
    },
    #[error("the journal {path} is damaged: record {seq} does not follow from the records before it: {why}")]
    Unreplayable { path: PathBuf, seq: i64, why: String },
    #[error(
        "the journal {path} cannot be replayed: its snapshot at record {seq}, which version {build} wrote, cannot be used \
         ({why}), and the records before it are gone"
    )]
    SnapshotLost { path: PathBuf, seq: i64, build: String, why: String },
    #[error("the journal {path} is damaged: it cannot be read")]
    ReadJournal {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("cannot write to the journal; the controller stops and traffic goes on")]
    WriteJournal(#[source] rusqlite::Error),
    #[error("the journal could not be written for so long that what happened meanwhile cannot be held any more")]
    TooMuchUnwritten,
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

impl Error {
    /// What a person has to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::OpenJournal { source, .. } | Self::WriteJournal(source) => Remedy::of(source),
            Self::Keep(CopyError::Store { source, .. }) => Remedy::of(source),
            Self::Refused(refused) => Remedy::of_refused(refused),
            Self::CorruptRecord { .. } | Self::Unreplayable { .. } => Remedy::Restore,
            Self::ReadJournal { source, .. } => match Remedy::of(source) {
                // Whatever it is that cannot be read, it is not there as it was written.
                Remedy::Named => Remedy::Restore,
                known => known,
            },
            Self::SnapshotLost { .. } => Remedy::Version,
            Self::Keep(CopyError::File { .. })
            | Self::TooMuchUnwritten
            | Self::State { .. }
            | Self::OtherFleet(_)
            | Self::Runtime(_)
            | Self::Listen(_) => Remedy::Named,
        }
    }

    /// It was refused for want of room, and may be tried again once there is some.
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        match self {
            Self::OpenJournal { .. } | Self::WriteJournal(_) | Self::Refused(_) => self.remedy() == Remedy::Room,
            _ => false,
        }
    }
}
