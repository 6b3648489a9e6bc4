//! Real processes: the contract of all drivers, and what only the process driver promises.

mod bench;
mod contract;
mod host;
mod process;
