//! What a person sees of a rollout: a calm picture on a terminal, plain lines elsewhere, and the whole story when
//! somebody asks why.

mod advice;
mod describe;
mod frame;
mod limits;
mod narrator;
mod preview;
mod rollback;
mod screen;
#[cfg(test)]
mod tests;
mod why;
mod words;

pub(crate) use advice::advice;
pub(crate) use describe::{describe, finding};
pub(crate) use frame::{Frame, frame};
pub(crate) use limits::limits;
pub(crate) use narrator::Narrator;
pub(crate) use preview::{intent, preview};
pub(crate) use rollback::undone;
pub(crate) use screen::Screen;
pub(crate) use why::{evidence, why};
pub(crate) use words::{mib, moment, stage, trigger};
