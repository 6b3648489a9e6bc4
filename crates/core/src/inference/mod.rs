//! Inference admission: who may use the model server's slots, and when its model is switched.
//!
//! [`Scheduler`] is a pure machine: it owns the queue in front of the model server and never lets more calls
//! be in flight than there are slots. Shells perform what it commands and tell it what became of it. [`Breaker`] stands
//! in front of it, one per agent and side.

mod accounts;
mod breaker;
mod limits;
mod queue;
mod scheduler;

pub use breaker::{Breaker, BreakerSettings, BreakerState, CallEnd, NotPermitted, Permitted};
pub use limits::{Bound, Limits, Refused};
pub use scheduler::{CallId, Command, Scheduler};
