//! Phases → batches. A plan leaves nothing to choose: the controller executes it as it stands.
//!
//! What cannot fit, rollout and way back, is refused here with the numbers, before anything is touched.

mod batches;
mod cpu;
mod fit;
mod halves;
mod ledger;
mod make;
mod model;
mod needs;
mod outlook;
mod refusal;
pub mod text;
mod timetable;
mod undo;

pub use ledger::{Ledger, Shortfall};
pub use make::{make, revision_of};
pub use model::*;
pub use needs::{ASSUMED_BYTES, Measured, Traffic};
pub use outlook::drill_of;
pub use timetable::{Freeze, FreezeOverride, Timetable, Wait};
