//! The controller in a world that answers at once: every state, every verb, every crash point.

mod crash;
mod lookout;
mod progress;
mod trouble;
mod tryout;
mod undo;
mod verbs;
mod world;
