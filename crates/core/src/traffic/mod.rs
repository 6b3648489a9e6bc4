//! Who may take what: routes and fences, claims on targets, tasks and their leases.
//!
//! [`Traffic`] is the whole of it as one machine. It answers at once and says what changed as a list of
//! [`Change`]s; the shell writes them in one transaction before it acts on them or answers, so that what was
//! promised is what is stored. [`Snapshot`] is the meaning of the changes: what is left after all of them.
//! [`Claims`] and [`Silence`] are the parts that many threads share without a lock. [`Streaks`] remembers in which
//! order what was taken ended. [`handover`] is the order in which one gateway gives way to the next.

mod change;
mod claim;
pub mod handover;
mod lines;
mod machine;
mod outcome;
mod pace;
mod priority;
mod questions;
mod queue;
mod result;
mod roster;
mod route;
mod silence;
mod snapshot;
mod task;
mod tryout;

pub use change::{Change, LeaseEnd};
pub use claim::{Claims, ClaimsView, Released, Retired, Retirement};
pub use machine::{Agents, CutOver, Progress, Refusal, Submission, Submitted, Traffic};
pub use outcome::{Outcome, Streaks};
pub use priority::{BadPriority, Priority};
pub use result::falls_short;
pub use roster::Enrolled;
pub use route::{Route, RouteError};
pub use silence::Silence;
pub use snapshot::Snapshot;
pub use task::{Addressee, Archived, Completion, Draw, End, Granted, Lease, Report, State, Task, TaskId, Told};
