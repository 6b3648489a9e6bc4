//! Every bound of the data plane in one place. `docs/gateway.md` lists them for people.

use std::time::Duration;

use bellwether_core::time::Millis;

/// Client connections at once, tunnels included. Beyond it, connections wait in the listener's backlog.
pub(crate) const CONNECTIONS_MAX: usize = 4096;
/// How long a client may take to send a request's head, and how long an idle connection is kept. Longer than the
/// pools of common clients keep theirs, so that it is the client that closes and no request meets a closing door.
///
/// The number of headers is bounded too, by hyper's own 100: any other bound costs two allocations per request.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
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
/// Tasks in one answer, and where nobody says how many.
pub(crate) const LISTED_MAX: usize = 1000;
pub(crate) const LISTED: usize = 100;
/// Tasks that the writer looks at in one go for a list, and how long a list may take in all.
pub(crate) const LIST_STEP: usize = 2000;
pub(crate) const LIST_TIME: Duration = Duration::from_secs(10);
/// How often a stream of events says something though there is nothing to say, so that nobody between takes it for dead.
pub(crate) const STREAM_QUIET: Duration = Duration::from_secs(15);
/// When a client whose stream broke off should come back.
pub(crate) const STREAM_RETRY: Duration = Duration::from_secs(1);
/// The longest delay and the latest deadline of a task.
pub(crate) const PUT_OFF_MAX: Millis = Millis::from_mins(365 * 24 * 60);
/// Attempts that a submitter may ask for.
pub(crate) const ATTEMPTS_MAX: u32 = 100;
/// Characters of what is kept of a failure to show it.
pub(crate) const ERROR_CHARS: usize = 2000;

/// Clients of the model API that are told apart; more share the class of the unidentified. The place of one that was not seen
/// for so long is free for another.
pub(crate) const CLIENTS_MAX: usize = 256;
pub(crate) const CLIENT_KEPT: Millis = Millis::from_mins(60);

/// The longest that a question for a task is held open, whatever its asker says.
pub(crate) const HOLD_MAX: Millis = Millis::from_secs(60);

/// What an agent may keep of a task for the next attempt, as JSON.
pub(crate) const CHECKPOINT_BYTES: usize = 64 << 10;

/// Tasks that one instance may hold at once, whatever it asks for.
pub(crate) const PLACES_MAX: u32 = 64;

pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle upstream connections per instance and runtime thread, and how long they are kept. Common servers drop
/// theirs after 2 to 5 seconds; the gateway has to be first. As many as requests are commonly under way at once: answers
/// come in bursts, and what is above the bound costs a new connection each.
pub(crate) const IDLE_PER_INSTANCE: usize = 128;
pub(crate) const IDLE_LIMIT: Duration = Duration::from_millis(1500);

/// Questions that wait for the writer.
pub(crate) const DESK_QUEUE: usize = 1024;
/// The most that one transaction takes in.
pub(crate) const BATCH_MAX: usize = 256;
/// How often ended tasks beyond their retention are looked for, and how many go in one transaction.
pub(crate) const PURGE_EVERY: Duration = Duration::from_secs(10);
pub(crate) const PURGE_ROWS: usize = 128;
pub(crate) const PURGE_BYTES: u64 = 8 << 20;
/// Free pages that stay in the store's file whatever their share of it, and how many are given back in one transaction.
pub(crate) const FREE_PAGES_MIN: u64 = 4096;
pub(crate) const SHRINK_PAGES: u64 = 256;
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

/// How long a task's backend may take to connect, to answer a question for a task, and to answer what is passed on.
pub(crate) const BACKEND_CONNECT: Duration = Duration::from_secs(2);
pub(crate) const BACKEND_ASK: Duration = Duration::from_secs(60);
pub(crate) const BACKEND_NOTICE: Duration = Duration::from_secs(3);
/// How long a question is still held open for tasks that come back to us after the backend had none.
pub(crate) const BACKEND_PAUSE: Millis = Millis::from_secs(1);
/// The least that an agent is thought to wait for the backend's answer.
pub(crate) const BACKEND_PATIENCE: Millis = Millis::from_secs(5);
/// What the backend may give at once.
pub(crate) const BACKEND_TASK_BYTES: usize = 16 << 20;
/// Letters to the backend that are under way at once, how long each may take, and how long it waits after it failed.
pub(crate) const LETTERS_AT_ONCE: usize = 16;
pub(crate) const LETTER_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const LETTER_WAIT: Millis = Millis::from_secs(1);
pub(crate) const LETTER_WAIT_MAX: Millis = Millis::from_secs(60);
/// The longest pause of them all while the backend cannot be reached.
pub(crate) const LETTER_PAUSE_MAX: Millis = Millis::from_secs(10);
/// Letters in one answer to people.
pub(crate) const LETTERS_SHOWN: usize = 100;

/// How long a courier waits before it asks again for an instance that could not be reached or does not get anything.
pub(crate) const COURIER_WAIT: Duration = Duration::from_millis(250);
pub(crate) const COURIER_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long requests that use the store may take to end before it is given to the next gateway.
pub(crate) const QUIESCE_MAX: Duration = Duration::from_secs(2);
/// How often a gateway that gave way tells what it still has, and how often the next one looks for drains that are over.
pub(crate) const LENT_EVERY: Duration = Duration::from_millis(20);
pub(crate) const LEGACY_LOOK: Duration = Duration::from_millis(100);
/// How long a client that is cut when an upgrade gives no more time has to take the answer that says so.
pub(crate) const CUT_GRACE: Duration = Duration::from_secs(1);
/// How long a gateway waits for one that is being taken over already, and one that has finished for its heir to hear it.
pub(crate) const HEIR_PATIENCE: Duration = Duration::from_secs(2);
pub(crate) const LAST_WORDS_MAX: Duration = Duration::from_secs(5);
/// How long an older gateway may take to say how it stands.
pub(crate) const STANDING_MAX: Duration = Duration::from_secs(5);
/// How long it may take to give way: to empty itself and to close its store, on a disk and a machine that are busy.
pub(crate) const GIVES_WAY_MAX: Duration = Duration::from_secs(20);

/// How long requests in flight may take to end when the gateway is told to stop.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);
