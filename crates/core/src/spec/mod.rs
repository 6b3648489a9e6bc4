//! Fleet and release files: raw form → validated [`Spec`]. Nothing past this line checks again.
//!
//! A file is read to its end even where it is wrong, and every finding is a [`crate::diagnostic::Diagnostic`]
//! with file, line and column. What is not written has a default; the defaults stand in `docs/fleet-file.md`.

mod agents;
mod calendar;
mod delivery;
mod difference;
mod fleet;
mod freezes;
mod inventory;
mod model;
pub(crate) mod names;
pub(crate) mod nearest;
mod ollama;
mod phases;
mod reader;
mod release;
mod revision;
mod rollout;
mod tasks;
mod triggers;
pub mod unit;
mod yaml;

pub use calendar::{DAY, DateTime, FreezeWindow, WeekTime, When, Zone};
pub use difference::{differences, other_agents};
pub use fleet::{Sources, parse_fleet, parse_fleet_in};
pub use freezes::KnowsZone;
pub use model::*;
pub use ollama::{Allow, ModelServer, Ollama};
pub use release::parse_release;
pub use unit::millis;
