//! Inference admission: who may use the model servers' slots, and when a model is switched.
//!
//! [`Scheduler`] is a pure machine: it owns the queue in front of the model servers and never lets more calls
//! be in flight than there are slots. Shells perform what it commands and tell it what became of it. [`Breaker`] stands
//! in front of it, one per agent and side.

mod accounts;
mod bound;
mod breaker;
mod class;
mod limits;
mod pace;
mod queue;
mod runner;
mod scheduler;
mod server;

pub use bound::Demand;
pub use breaker::{Breaker, BreakerFigures, BreakerSettings, BreakerState, CallEnd, NotPermitted, Permitted};
pub use class::{Class, NoClass};
pub use limits::{Bound, Limits, Refused};
pub use runner::{RUNNER_OPTIONS, Runner, RunnerOptions};
pub use scheduler::{Ask, CallId, Command, Held, Scheduler};
pub use server::ServerId;
