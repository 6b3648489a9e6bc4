//! The data plane: owns the two flows that matter, tasks into agents and model calls out of agents.
//!
//! What may be decided wrongly is decided in `bellwether-core`; this crate moves bytes, keeps the store and
//! counts what it saw.

mod body;
mod caller;
mod model;
mod observe;
mod waits;
