//! The binary as a user has it: real processes, real sockets.

mod demo;
mod faults;
mod heavy;
mod rollout;
mod serve;
mod world;
