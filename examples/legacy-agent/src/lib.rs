//! The blue base: an agent as the fleet runs it before a rollout. Synchronous, one task at a time, a
//! heartbeat from a thread, the seed's protocol, nothing but the standard library.
//!
//! It is kept as weak as the agents it stands for: no HTTP server, no drain, no signal handling, no retry,
//! and a failed model call becomes an empty answer that is reported as completed.

mod agent;
mod clock;
mod config;
mod http;
mod json;
mod log;

pub use config::{BadConfig, Config};

/// Runs the agent. It ends only with its process.
pub fn run(config: Config) -> ! {
    agent::Agent::new(config).run()
}
