//! How a rollout is judged: pure, streaming, without a clock.
//!
//! The controller feeds one-second records into a [`Window`], takes a [`Baseline`] before anything is touched, and
//! asks [`judge`] at the end of a bake and [`summary`] at the end of a rollout. No data is never a pass. What the
//! tests assume and what they cannot see is in `docs/analysis.md`.

mod baseline;
mod errors;
pub(crate) mod exact;
mod exceed;
mod excess;
mod judge;
mod ladder;
mod latency;
mod mass;
mod matched;
mod rank;
mod rate;
mod sequential;
mod share;
mod summary;
#[cfg(test)]
mod tests;
mod usage;
mod verdict;
mod window;
pub(crate) mod words;

pub use baseline::{Baseline, BaselineError};
pub use errors::smallest_error_rise;
pub use judge::{ALPHA, JudgeInput, Looks, judge};
pub use sequential::{Harm, Metric, Sequential, SequentialSetup};
pub use summary::{ClientAccount, SummaryInput, summary};
pub use verdict::*;
pub use window::{AgentUsage, Tally, Window};
