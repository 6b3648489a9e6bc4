//! How much of the disk is held back for undoing a rollout.
//!
//! `tests/reserve.rs` measures what the ways back of a fleet make the journal hold; the stores' own tests measure what
//! that is in their files. What is held back is at least twice as much.

/// A store's log of writes is carried over into the file once it has this length, and may have to grow up to there.
const LOG_BYTES: u64 = 4 << 20;
/// For what has nothing to do with the number of agents: the trigger, its figures, tables' own growth.
const SLACK_BYTES: u64 = 2 << 20;
/// Of one agent on the way back: its instances' events, and its part in four looks at the world.
const JOURNAL_BYTES_PER_AGENT: u64 = 12 << 10;
/// Of one agent on the way back: its route, its instances, the leases that are taken from green, and its part in the
/// one-second records that the way back is judged by.
const GATEWAY_BYTES_PER_AGENT: u64 = 64 << 10;

/// What the journal wants for the way back of so many agents.
pub fn journal_bytes(agents: usize) -> u64 {
    LOG_BYTES + SLACK_BYTES + JOURNAL_BYTES_PER_AGENT * agents as u64
}

/// What the gateway's store wants for it.
pub fn gateway_bytes(agents: usize) -> u64 {
    LOG_BYTES + SLACK_BYTES + GATEWAY_BYTES_PER_AGENT * agents as u64
}
