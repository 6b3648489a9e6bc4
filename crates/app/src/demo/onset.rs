//! The moment at which what was sound turns bad: when the phase bakes, after its greens have answered their synthetic
//! tasks and got their traffic. From then on every agent that runs the revision is bad. A model server that went away comes
//! back when no green is left, so that blue can be validated.
//!
//! A revision that is unfit is so from its start, and never comes that far.

use bellwether_control::types::Status;
use bellwether_core::{
    id::Side,
    rollout::{Is, State, Step},
};

use super::{
    Simulated, cannot_prepare,
    children::Processes,
    files, ollama_arguments,
    scenario::{Fault, Planted},
};
use crate::failure::Failure;

pub(super) const NAME: &str = "the simulated Ollama";

pub(super) struct Onset {
    planted: Planted,
    stage: Stage,
}

enum Stage {
    Before,
    Down,
    Over,
}

impl Onset {
    pub(super) fn new(planted: Planted) -> Self {
        let stage = if planted.fault == Fault::Unfit { Stage::Over } else { Stage::Before };
        Self { planted, stage }
    }

    /// Does what is due, and says so.
    pub(super) async fn look(
        &mut self,
        status: &Status,
        ollama: &Simulated,
        processes: &mut Processes,
    ) -> Result<Option<&'static str>, Failure> {
        match self.stage {
            Stage::Before if !self.is_due(status) => Ok(None),
            Stage::Before if self.planted.fault != Fault::OllamaDown => {
                std::fs::write(files::fault_from(), "").map_err(cannot_prepare)?;
                self.stage = Stage::Over;
                Ok(Some("the revision that is rolled out is bad from here on"))
            }
            Stage::Before => {
                processes.kill(NAME).await?;
                self.stage = Stage::Down;
                Ok(Some("the model server is gone"))
            }
            Stage::Down if no_green_is_left(status) => {
                // The same port: whoever knows it must find it there again.
                let arguments = ollama_arguments(ollama.address(), None);
                let again: Simulated = processes.start_below(NAME, &arguments)?.says().await?;
                debug_assert_eq!(again.url, ollama.url);
                self.stage = Stage::Over;
                Ok(Some("no green is left, and the model server is back"))
            }
            Stage::Down | Stage::Over => Ok(None),
        }
    }

    fn is_due(&self, status: &Status) -> bool {
        let Some(rollout) = &status.controller.rollout else { return false };
        match rollout.state {
            State::Progressing { phase, step } => {
                let bakes = matches!(step, Step::Baking { .. } | Step::Halfway { .. });
                phase >= self.planted.phase && bakes
            }
            State::Preflight
            | State::Validating { .. }
            | State::Completed
            | State::Committed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::NeedsAttention
            | State::PreflightFailed => false,
        }
    }
}

fn no_green_is_left(status: &Status) -> bool {
    status.controller.agents.iter().all(|agent| {
        agent.serving != Some(Side::Green) && agent.green.as_ref().is_none_or(|green| green.is == Is::Empty)
    })
}
