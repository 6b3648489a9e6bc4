//! The queues that are compared: ours, and what one would otherwise take.

pub(crate) mod ours;
pub(crate) mod redis;
pub(crate) mod sqlite;

/// So many bytes of text.
pub(crate) fn payload(bytes: usize) -> String {
    "check the report of each service and say which one needs care; ".chars().cycle().take(bytes).collect()
}
