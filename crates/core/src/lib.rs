//! The pure part of Bellwether: every decision that could misroute a request or misjudge a rollout.
//!
//! Nothing here opens a socket, reads a clock, touches a file or draws a random number. Time comes in as
//! [`time::Now`], chance as an argument, and what should happen in the world goes out as commands. That is
//! what lets `bellwether-sim` run the same machines in a simulated world.

pub mod analysis;
pub mod diagnostic;
pub mod explain;
pub mod histogram;
pub mod id;
pub mod inference;
pub mod observation;
pub mod pairs;
pub mod plan;
pub mod port;
pub mod rollout;
pub mod spec;
pub mod time;
pub mod traffic;
pub mod watch;
