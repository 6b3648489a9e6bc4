//! The controller in a world that answers at once: every state, every verb, every crash point.

mod crash;
mod disk;
mod progress;
mod reserve;
mod snapshot;
mod trouble;
mod tryout;
mod undo;
mod verbs;
mod world;
