//! What a person has to do about a store that cannot be used.

use rusqlite::{Error, ErrorCode, ffi};

use crate::{kind::Refused, room::is_out_of_room};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Make room on the disk.
    Room,
    /// Use the version that wrote it, or what the error names.
    Version,
    /// Put back a backup: what is there cannot be used.
    Restore,
    /// What the error names.
    Named,
}

impl Remedy {
    pub fn of(error: &Error) -> Self {
        if is_damage(error) {
            Self::Restore
        } else if is_out_of_room(error) {
            Self::Room
        } else {
            Self::Named
        }
    }

    pub fn of_refused(refused: &Refused) -> Self {
        match refused {
            Refused::Foreign { .. } | Refused::Later { .. } => Self::Version,
            Refused::Damaged { .. } => Self::Restore,
            Refused::Unreadable { source, .. } => Self::of(source),
        }
    }
}

/// What is there cannot be read. A page that is cut off is no want of room, though its code is of that family.
fn is_damage(error: &Error) -> bool {
    let short_read = error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHORT_READ);
    short_read || matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}
