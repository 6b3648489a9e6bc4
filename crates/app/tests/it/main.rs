//! The binary as a user has it: real processes, real sockets.

mod agent;
mod demo;
mod errors;
mod faults;
mod heavy;
mod identity;
mod languages;
mod python;
mod rollout;
mod serve;
mod soak;
#[path = "../../benches/soak/run/mod.rs"]
mod soak_run;
mod tap;
mod tasks;
mod upgrade;
mod world;
