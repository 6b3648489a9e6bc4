//! The controller in a world that answers at once: every state, every verb, every crash point.

mod approval;
mod clock;
mod crash;
mod disk;
mod freeze;
mod lookout;
mod preview;
mod progress;
mod questions;
mod race;
mod reserve;
mod retry;
mod snapshot;
mod trouble;
mod tryout;
mod undo;
mod verbs;
mod window;
mod world;
