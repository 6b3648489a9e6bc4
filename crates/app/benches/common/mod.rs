//! What the benchmarks share that run a whole fleet of real processes and kill its parts.

pub(crate) mod account;
pub(crate) mod control;
pub(crate) mod get;
pub(crate) mod hunt;
pub(crate) mod policy;
pub(crate) mod process;
