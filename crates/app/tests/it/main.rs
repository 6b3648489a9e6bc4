//! The binary as a user has it: real processes, real sockets.

mod agent;
mod demo;
mod edits;
mod errors;
mod faults;
mod freeze;
mod heavy;
mod identity;
mod languages;
mod python;
mod rollout;
mod serve;
mod soak;
#[path = "../../benches/soak/run/mod.rs"]
mod soak_run;
mod stores;
mod tap;
mod tasks;
mod upgrade;
mod verbs;
mod world;
