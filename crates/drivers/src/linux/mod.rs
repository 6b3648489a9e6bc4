//! What only Linux has: process descriptors, the child subreaper, signals at a parent's death, control
//! groups, `/proc`. Everything that a port to another system has to answer anew is in here.

pub mod cgroup;
mod family;
mod pidfd;
pub mod proc;

pub use family::{become_subreaper, end_with_parent};
pub(crate) use pidfd::reap_orphan;
pub use pidfd::{Process, kill_exact};
pub use rustix::process::Signal;
