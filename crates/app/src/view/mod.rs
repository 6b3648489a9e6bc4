//! What a person sees of a running rollout: a calm picture on a terminal, plain lines elsewhere.

mod describe;
mod frame;
mod narrator;
mod screen;
mod words;

pub(crate) use describe::{describe, finding};
pub(crate) use frame::{Frame, frame};
pub(crate) use narrator::Narrator;
pub(crate) use screen::Screen;
pub(crate) use words::{mib, stage, trigger};
