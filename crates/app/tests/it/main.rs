//! The binary as a user has it: real processes, real sockets.

mod admission;
#[path = "../../benches/admission/run/mod.rs"]
mod admission_run;
mod agent;
mod alone;
mod bench_model;
#[path = "../../benches/common/mod.rs"]
mod common;
mod demo;
mod edits;
mod engine;
mod errors;
mod faults;
mod freeze;
mod heavy;
mod identity;
mod kills;
#[path = "../../benches/kills/run/mod.rs"]
mod kills_run;
mod languages;
#[path = "../../benches/common/model_load/mod.rs"]
mod model_load;
mod official;
mod published;
mod python;
mod rollout;
mod serve;
mod soak;
#[path = "../../benches/soak/run/mod.rs"]
mod soak_run;
mod stalled;
mod stores;
mod tap;
mod tasks;
mod upgrade;
mod verbs;
mod world;
