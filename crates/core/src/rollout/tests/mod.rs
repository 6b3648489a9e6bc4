//! The controller in a world that answers at once: every state, every verb, every crash point.

mod approval;
mod crash;
mod progress;
mod race;
mod retry;
mod trouble;
mod tryout;
mod undo;
mod verbs;
mod world;
