//! What the controller's journal and the gateway's store have in common: whose file it is and of which form, copies of
//! it, room on the disk that is held back, and the folder that a backup is.
//!
//! Nothing here knows what the stores hold. A file that is not ours, or of a later form, is refused before anything in
//! it is changed.

mod backup;
mod copy;
mod kind;
mod mark;
mod remedy;
mod reserve;
mod room;

pub use backup::{Backup, BackupError, FileSum, MANIFEST, Manifest, Sums};
pub use copy::{CopyError, copy, copy_at_rest, copy_file, keep, kept, sync_directory};
pub use kind::{BUILD, Found, GATEWAY, JOURNAL, Kind, Refused, check, highest_instance, identify, refuse_later, stamp};
pub use mark::Mark;
pub use remedy::Remedy;
pub use reserve::Reserve;
pub use room::{free_bytes, is_out_of_room};
