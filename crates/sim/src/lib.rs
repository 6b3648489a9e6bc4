//! The machines of `bellwether-core` in a simulated world, in virtual time.
//!
//! Controller, traffic and analysis are the real ones; processes, links, the model server, the load and the
//! operator are not. Everything follows from one seed. After each event the [`referee`] checks what must always
//! hold; then the faults stop, and the rollout must come to an end within a bound.

mod agenda;
mod chance;
mod driver;
mod evidence;
mod fleet;
mod gateway;
mod model;
mod points;
mod referee;
mod run;
mod scenario;
mod shell;
pub mod simulate;
pub mod watched;
mod world;

pub use fleet::Unplannable;
pub use points::{Campaign, Trials};
pub use referee::Violation;
pub use run::{End, Failure, Job, Outcome, Simulator};
pub use scenario::{Expect, Lies, PLAYS, Plot, SCENARIOS, Scenario};
pub use world::deaths::{Death, Party, Spot};
