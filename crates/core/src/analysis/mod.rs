//! How a rollout is judged: pure, streaming, without a clock.

mod verdict;

pub use verdict::*;
