//! Whether a store failed for want of room.

use std::{io, path::Path};

use rusqlite::ErrorCode;

/// The disk is full, or does not take what is written to it. The two are not told apart: a file system that has no room for
/// its own books answers with the second.
pub fn is_out_of_room(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
}

/// What is free where this path is, for those who are not root.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
