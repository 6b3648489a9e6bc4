//! The controller as a process: it feeds events to the machine in `bellwether-core`, journals what the
//! machine accepted, and only then turns the machine's commands into effects.
//!
//! It holds no traffic and parents no process, so that its death costs neither a request nor an agent.

mod api;
pub(crate) mod bundle;
mod bundles;
pub mod calendar;
mod clock;
mod disk;
pub mod edits;
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
mod standing;
#[cfg(feature = "testing")]
pub mod testing;
mod usage;
mod watching;

pub use api::{BESIDE, types};
pub use disk::{PUT_BACK, PutBack};
pub use error::Error;
pub use run::{Config, run};
pub use standing::{Standing, standing};
