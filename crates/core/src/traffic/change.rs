//! What happened, as facts to be stored and then acted on.

use crate::{
    id::{AgentName, Generation, InstanceId, InstanceToken},
    port::gateway::{InstanceCard, Move},
    time::UnixMillis,
};

use super::{
    route::Route,
    task::{End, Lease, Report, Task, TaskId},
};

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Enrolled {
        card: InstanceCard,
    },
    /// The instance counts as blue from here on.
    Settled {
        instance: InstanceId,
    },
    /// How many tasks the instance works on at once.
    Places {
        instance: InstanceId,
        places: u32,
    },
    /// The instance's process is gone; its card stays until it is forgotten.
    Gone {
        instance: InstanceId,
    },
    Forgotten {
        instance: InstanceId,
        token: InstanceToken,
    },
    /// `moves` are kept to know a repeated intent; a generation that the gateway made itself has none.
    Generation {
        generation: Generation,
        moves: Vec<Move>,
    },
    Routed {
        agent: AgentName,
        route: Route,
    },
    /// The instance may take new claims and leases.
    Opened {
        instance: InstanceId,
        generation: Generation,
    },
    /// It may not any more. What it still holds is cut at the limit.
    Retired {
        instance: InstanceId,
        limit: UnixMillis,
    },
    /// The drain limit has passed: leases are revoked in changes of their own, streams are for the shell to cut.
    DrainOver {
        instance: InstanceId,
    },
    FellBack {
        agent: AgentName,
        from: InstanceId,
        to: InstanceId,
        generation: Generation,
    },
    Queued {
        task: Task,
    },
    Leased {
        id: TaskId,
        attempts: u32,
        lease: Lease,
    },
    /// The lease ended without a completion. If the task was not given up with it, it is queued again.
    LeaseLost {
        /// As it is after.
        task: Task,
        end: LeaseEnd,
        lease: Lease,
    },
    /// Its holder reported a failure, or a result that carries less than it must; it waits for another attempt.
    Retried {
        /// As it is after.
        task: Task,
        report: Report,
        lease: Lease,
        /// From the grant of the lease to the report.
        lease_micros: u64,
    },
    /// What its holder has come to so far.
    Checkpoint {
        id: TaskId,
    },
    /// A task that had ended, and not well, is queued again.
    Revived {
        task: Task,
    },
    /// The one end of the task.
    Finished {
        task: Task,
        seq: u64,
        at: UnixMillis,
        how: End,
        /// None where nobody's report ended it.
        by: Option<(Report, Lease)>,
        /// From the grant of the last lease to the report.
        lease_micros: u64,
    },
}

/// Why a lease ended without a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    Expired,
    /// By a rollout: at the drain limit, or because the trigger blamed the holder.
    Revoked,
    /// The holder's process ended while it was the active instance.
    HolderGone,
    /// The holder ended after it had been relieved, as a rollout asks it to.
    Returned,
    /// The holder asked for a task again instead of finishing the one it had.
    AskedAgain,
    /// It never reached the holder, who had gone away.
    Undelivered,
    /// The submitter wants it no more.
    Cancelled,
}
