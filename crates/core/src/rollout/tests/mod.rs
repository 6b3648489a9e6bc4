//! The controller in a world that answers at once: every state, every verb, every crash point.

mod crash;
mod progress;
mod questions;
mod trouble;
mod tryout;
mod undo;
mod verbs;
mod world;
