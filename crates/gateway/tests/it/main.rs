//! The gateway on real sockets, from outside.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod agent;
mod bad_input;
mod courier;
mod dialects;
mod handover;
mod held;
mod identity;
mod model_calls;
mod pull;
mod push;
mod relay;
mod restart;
mod served;
mod signs;
mod streams;
mod submit;
mod tasks_input;
mod tasks_life;
mod tasks_list;
mod tasks_streams;
mod tryout;
mod world;
