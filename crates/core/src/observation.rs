//! What the gateway saw, in one-second records. Control judges from these alone; what an agent says of
//! itself is never in here.
//!
//! Records are numbered without gaps, so that a reader knows what it has missed. Order inside a second is
//! immaterial, and so is the order of cells.

use serde::{Deserialize, Serialize};

use crate::{
    histogram::Histogram,
    id::{AgentName, ModelName, Side},
    time::{Millis, UnixMillis},
};

/// Everything that ended in one second, with a gauge of what was still in flight at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Counted from 1, without gaps, across restarts of the gateway.
    pub number: u64,
    pub at: UnixMillis,
    pub cells: Vec<Cell>,
    /// Model calls in flight at the model server at the end of the second, and the most during it.
    pub slots_busy: u32,
    pub slots_peak: u32,
    /// Model calls waiting for a slot at the end of the second.
    pub calls_waiting: u32,
    /// Tasks accepted but not leased at the end of the second.
    pub tasks_queued: u64,
    /// Switches of the loaded model that began in the second.
    pub model_switches: u32,
    /// Attempts of the gateway's own to reach the model server in the second, and those that failed.
    #[serde(default)]
    pub probes: u32,
    #[serde(default)]
    pub probes_failed: u32,
    /// Pushed requests under way at the end of the second, those that wait for an instance among them.
    #[serde(default)]
    pub pushes_open: u32,
    /// In the first record of a gateway whose predecessor did not come to an orderly end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Resumed>,
}

/// What is known of a gateway that was killed. What it had not counted by its last record is not known, and was under
/// way with it: requests broke off, leases and tasks did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// From its last record to the start of the next gateway: up to a second longer than nobody was there.
    pub away: Millis,
    /// Under way at its last record.
    pub pushes: u32,
    /// Model calls, those that waited for a slot among them.
    pub calls: u32,
    /// Leases that go on. A failure that is reported of one of these is not held against the agent: its model call may
    /// have broken off with the gateway.
    pub leases: u64,
}

/// The share of a second that belongs to one agent, one model, one drawn and one serving side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub agent: AgentName,
    pub model: ModelName,
    /// The side that an outcome counts for. It is the side that served, but for a task that another agent took over:
    /// that one counts for the side that served the drawn agent when it was drawn.
    pub drawn: Side,
    pub served: Side,
    #[serde(default, skip_serializing_if = "Tasks::is_empty")]
    pub tasks: Tasks,
    #[serde(default, skip_serializing_if = "Calls::is_empty")]
    pub calls: Calls,
    #[serde(default, skip_serializing_if = "Pushes::is_empty")]
    pub pushes: Pushes,
    #[serde(default, skip_serializing_if = "Signs::is_empty")]
    pub signs: Signs,
}

impl Cell {
    /// Adds what else happened in the same second. What is no sum (the streak and the silences at the end of the second)
    /// stays as it is.
    pub fn absorb(&mut self, other: &Self) {
        self.tasks.absorb(&other.tasks);
        self.calls.absorb(&other.calls);
        self.pushes.absorb(&other.pushes);
        self.signs.absorb(&other.signs);
    }
}

/// What the order of an agent's outcomes and the silence between them say, per agent and serving side. An outcome
/// is a task that completed, failed or lost its lease, or a pushed request that was answered or failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Signs {
    /// Outcomes whose predecessor, on this agent and serving side, was good, or that had none.
    #[serde(skip_serializing_if = "is_zero")]
    pub trials: u64,
    /// Those of `trials` that failed: errors that are no continuation of a burst.
    #[serde(skip_serializing_if = "is_zero")]
    pub onsets: u64,
    /// Failures in a row, at the end of the second.
    #[serde(skip_serializing_if = "is_zero")]
    pub streak: u64,
    /// Completions that carried less than the fleet file says a result must (R91); each is among `failed`.
    #[serde(skip_serializing_if = "is_zero")]
    pub empty: u64,
    /// The longest time that a lease has gone without a sign of work, in milliseconds, at the end of the second.
    #[serde(skip_serializing_if = "is_zero")]
    pub stalled_ms: u64,
    /// How long the serving instance has shown no sign of its main loop, in milliseconds, at the end of the second:
    /// no request for a task, no completion, no byte of a model call, no answer to a push.
    #[serde(skip_serializing_if = "is_zero")]
    pub quiet_ms: u64,
    /// Openings of the gateway's breaker for this agent's model calls.
    #[serde(skip_serializing_if = "is_zero")]
    pub trips: u64,
    /// Openings that the agent reports of its own breaker.
    #[serde(skip_serializing_if = "is_zero")]
    pub reported_trips: u64,
}

/// An agent that does nothing has a cell in every second: noughts are not written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde asks for")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Signs {
    fn absorb(&mut self, other: &Self) {
        self.trials += other.trials;
        self.onsets += other.onsets;
        self.empty += other.empty;
        self.trips += other.trips;
        self.reported_trips += other.reported_trips;
    }

    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// Tasks that were finished or lost their lease in the second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tasks {
    /// Accepted completions that said `completed` and carried a result.
    pub completed: u64,
    /// Accepted completions that said `failed`, or said `completed` and carried nothing (R91).
    pub failed: u64,
    /// Leases that ended without a report and by their holder's fault: expired, dropped, or the active instance was
    /// gone. What a rollout or a submitter took away is not among them.
    pub lost_leases: u64,
    /// From lease to accepted completion, less the time that the task's model calls waited for a slot or for
    /// a model to load: what the revision can be blamed for. Microseconds.
    pub own_time: Histogram,
    /// From lease to accepted completion, as the clock saw it. Microseconds.
    pub lease_time: Histogram,
}

impl Tasks {
    fn absorb(&mut self, other: &Self) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.lost_leases += other.lost_leases;
        self.own_time.merge(&other.own_time);
        self.lease_time.merge(&other.lease_time);
    }

    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// Model calls that ended in the second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    pub succeeded: u64,
    /// The model server answered with an error, broke off, or could not be reached.
    pub failed: u64,
    /// Those of `failed` where no connection could be made.
    pub unreachable: u64,
    /// The caller left before the end.
    pub cancelled: u64,
    /// Refused by a declared bound of the gateway.
    pub refused: u64,
    pub queue_wait: Histogram,
    /// What the model server says that a call waited for its model to load, where it did.
    #[serde(default, skip_serializing_if = "Histogram::is_empty")]
    pub load: Histogram,
    /// From dispatch to the first byte of the answer: of a stream, its first token.
    pub first_byte: Histogram,
    /// Of streams, from the first byte to the last, for each token after the first. Microseconds.
    #[serde(default, skip_serializing_if = "Histogram::is_empty")]
    pub per_token: Histogram,
    /// From dispatch to the last byte. Microseconds.
    pub service: Histogram,
    pub prompt_tokens: u64,
    pub output_tokens: u64,
    /// Time in which the calls held a slot, in microseconds.
    pub slot_micros: u64,
}

impl Calls {
    fn absorb(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.unreachable += other.unreachable;
        self.cancelled += other.cancelled;
        self.refused += other.refused;
        self.queue_wait.merge(&other.queue_wait);
        self.load.merge(&other.load);
        self.first_byte.merge(&other.first_byte);
        self.per_token.merge(&other.per_token);
        self.service.merge(&other.service);
        self.prompt_tokens += other.prompt_tokens;
        self.output_tokens += other.output_tokens;
        self.slot_micros += other.slot_micros;
    }

    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// Requests on the push route that ended in the second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pushes {
    /// Answered with a status below 500.
    pub succeeded: u64,
    /// Answered 5xx by the agent, broken off, or the agent could not be reached.
    pub failed: u64,
    /// Answered by the gateway, because no instance became ready in the bounded wait.
    pub refused: u64,
    pub service: Histogram,
}

impl Pushes {
    fn absorb(&mut self, other: &Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.refused += other.refused;
        self.service.merge(&other.service);
    }

    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}
