//! The controller as a state machine: which instances should run, which of them each agent's traffic should
//! reach, and how a rollout moves both.
//!
//! [`Controller::step`] takes the time and one event and returns commands. Desires (`want`, `desired`) are
//! set by rollouts and verbs; what is missing to reach them is issued as commands, one cutover at a time.
//! Feeding the journaled events again gives the same state, so a crash costs a replay and one look at the
//! world ([`Event::Converge`]).

mod approval;
mod command;
mod controller;
mod event;
mod fleet;
mod freeze;
mod lookout;
mod once;
mod position;
mod preview;
mod progress;
pub mod reserve;
mod room;
mod seat;
mod state;
#[cfg(test)]
mod tests;
mod timers;
mod undo;
mod verbs;
mod view;

pub use approval::{ApprovalRecord, Consent};
pub use command::{Command, Window};
pub use controller::{Controller, Refusal};
pub use event::{Event, FleetAgent, Only, Verb, VerbKind};
pub use lookout::{Doubt, Lookout};
pub use once::{BadKey, Once};
pub use position::{NoPosition, Position};
pub use preview::{Preview, Seated, Shift};
pub use seat::{Is, Seat, Trial, Want};
pub use state::{
    Again, PauseReason, PhaseRecord, Retreat, RollbackRecord, RollbackStep, Rollout, State, Step, Trigger,
};
pub use view::{AgentView, ControllerView, PhaseView, RolloutView, SeatView, WindowView};
