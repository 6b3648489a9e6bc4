//! The asynchronous agent runtime: the green base, as a library.
//!
//! [`run`] registers, beats, pulls tasks while there is room, runs each through a [`Handler`], and reports
//! what came of it. A failure of the model server is reported as a failure, never as an empty success. When
//! asked to end it takes nothing more, finishes what it holds, and says so.

mod alone;
mod backend;
mod ballast;
mod base;
mod breaker;
mod config;
mod connections;
mod fault;
mod footprint;
mod handler;
mod http;
mod metrics;
mod model;
mod pace;
mod pool;
mod progress;
mod runtime;
mod serve;
mod stats;
mod status;
mod stream;
mod task;
mod trace;
mod work;

pub use alone::Alone;
pub use base::Base;
pub use config::{BadConfig, Config, Limits};
pub use fault::{BadFault, Fault};
pub use footprint::release_idle_memory;
pub use handler::{Handler, PromptHandler, TaskError};
pub use model::{Generated, Model, ModelError};
pub use runtime::{Ended, StartError, run};
pub use status::Status;
pub use task::Task;
pub use trace::Trace;
