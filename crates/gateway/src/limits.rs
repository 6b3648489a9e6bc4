//! Every bound of the data plane in one place. `docs/gateway.md` lists them for people.

use std::time::Duration;

use bellwether_core::time::Millis;

/// Client connections at once, tunnels included. Beyond it, connections wait in the listener's backlog.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// How long a client may take to send a request's head, and how long an idle connection is kept. Longer than the
/// pools of common clients keep theirs, so that it is the client that closes and no request meets a closing door.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
pub(crate) const HEADERS_MAX: usize = 128;
/// The read buffer of a connection, and so the largest head. Bodies of any size stream through it.
pub(crate) const BUFFER_BYTES: usize = 64 << 10;

/// A submitted task, and a report of its end.
pub(crate) const TASK_BYTES: usize = 1 << 20;
/// A registration or a heartbeat.
pub(crate) const NOTICE_BYTES: usize = 64 << 10;
/// How long a body that the gateway itself reads may take.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a pushed request waits for an instance to be ready, and how many may.
pub(crate) const PUSH_WAIT: Duration = Duration::from_secs(30);
pub(crate) const PUSH_WAITERS_MAX: usize = 1024;
/// How often a pushed request looks again at an active instance that could not be reached.
pub(crate) const PUSH_RETRY: Duration = Duration::from_millis(100);

/// How long a question may wait for its answer, and how many may.
pub(crate) const LONG_POLL: Duration = Duration::from_secs(60);
pub(crate) const LONG_POLLERS_MAX: usize = 1024;
/// Completions in one answer.
pub(crate) const COMPLETIONS_MAX: usize = 1000;

/// Named clients of the model API that are told apart; more share the class of the unidentified.
pub(crate) const CLIENTS_MAX: usize = 256;

/// The longest that a question for a task is held open, whatever its asker says.
pub(crate) const HOLD_MAX: Millis = Millis::from_secs(60);

/// Tasks that one instance may hold at once, whatever it asks for.
pub(crate) const PLACES_MAX: u32 = 64;

pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle upstream connections per instance and runtime thread, and how long they are kept. Common servers drop
/// theirs after 2 to 5 seconds; the gateway has to be first.
pub(crate) const IDLE_PER_INSTANCE: usize = 16;
pub(crate) const IDLE_LIMIT: Duration = Duration::from_millis(1500);

/// Questions that wait for the writer.
pub(crate) const DESK_QUEUE: usize = 1024;
/// The most that one transaction takes in.
pub(crate) const BATCH_MAX: usize = 256;
/// How often ended tasks beyond their retention are looked for, and how many go at once.
pub(crate) const PURGE_EVERY: Duration = Duration::from_secs(10);
pub(crate) const PURGE_ROWS: usize = 1000;
/// One-second records that are kept for a controller that was away: a day.
pub(crate) const SECONDS_KEPT: u64 = 86_400;
/// One-second records in one answer, and their bytes as stored; at least one record is answered. A line of the link
/// holds 64 MiB.
pub(crate) const SECONDS_ANSWERED: usize = 600;
pub(crate) const SECONDS_ANSWERED_BYTES: usize = 16 << 20;
/// Closed seconds that wait in memory while the store cannot be written.
pub(crate) const SECONDS_UNSAVED_MAX: usize = 600;
/// Tokens of forgotten instances that are still told apart from unknown ones.
pub(crate) const REVOKED_KEPT: usize = 4096;

/// How long requests in flight may take to end when the gateway is told to stop.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
