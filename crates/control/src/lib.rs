//! The controller as a process: it feeds events to the machine in `bellwether-core`, journals what the
//! machine accepted, and only then turns the machine's commands into effects.
//!
//! It holds no traffic and parents no process, so that its death costs neither a request nor an agent.

mod api;
pub(crate) mod bundle;
mod bundles;
mod clock;
mod effects;
mod error;
mod evidence;
mod fleet;
mod health;
mod journal;
mod launch;
mod links;
mod measured;
mod probe;
mod reactor;
mod run;
#[cfg(test)]
mod samples;
#[cfg(feature = "testing")]
pub mod testing;
mod usage;
mod watching;

pub use api::types;
pub use error::Error;
pub use run::{Config, run};
