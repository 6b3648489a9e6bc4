//! The controller in a world that answers at once: every state, every verb, every crash point.

mod clock;
mod crash;
mod disk;
mod freeze;
mod progress;
mod questions;
mod reserve;
mod snapshot;
mod trouble;
mod tryout;
mod undo;
mod verbs;
mod window;
mod world;
