//! The data plane: owns the two flows that matter, tasks into agents and model calls out of agents.
//!
//! What may be decided wrongly is decided in `bellwether-core`; this crate moves bytes, keeps the store and
//! counts what it saw.

mod agent_api;
pub mod alone;
mod board;
mod body;
mod breakers;
mod caller;
mod clock;
mod courier;
mod desk;
mod door;
mod guard;
mod heir;
mod hop;
mod intake;
mod keeper;
mod limits;
mod metrics;
mod model;
mod naming;
mod observe;
mod panel;
mod path;
mod pool;
mod prefer;
mod problem;
mod push;
mod relay;
mod room;
mod run;
mod said;
mod server;
mod service;
mod store;
mod table;
mod target;
mod task_api;
mod tunnel;
mod waits;
mod wire;
mod work;
mod writer;

pub use heir::{NotGiven, standing};
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub use model::fuzz;
pub use model::{ModelSettings, UpstreamSettings};
pub use run::{Config, Error, run};
pub use store::StoreError;
