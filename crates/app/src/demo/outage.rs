//! The model server goes away while green is being judged, and comes back when no green is left, so that blue can be
//! validated.

use bellwether_control::types::Status;
use bellwether_core::{
    id::Side,
    rollout::{Is, State, Step},
};

use super::{Simulated, children::Processes, ollama_arguments};
use crate::failure::Failure;

pub(super) const NAME: &str = "the simulated Ollama";

pub(super) struct Outage {
    /// Begins when this phase bakes.
    phase: usize,
    stage: Stage,
}

enum Stage {
    Before,
    Down,
    Over,
}

impl Outage {
    pub(super) fn new(phase: usize) -> Self {
        Self { phase, stage: Stage::Before }
    }

    /// Does what is due, and says so.
    pub(super) async fn look(
        &mut self,
        status: &Status,
        ollama: &Simulated,
        processes: &mut Processes,
    ) -> Result<Option<&'static str>, Failure> {
        match self.stage {
            Stage::Before if self.is_due(status) => {
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
            Stage::Before | Stage::Down | Stage::Over => Ok(None),
        }
    }

    fn is_due(&self, status: &Status) -> bool {
        let Some(rollout) = &status.controller.rollout else { return false };
        match rollout.state {
            State::Progressing { phase, step: Step::Baking { .. } | Step::Halfway { .. } } => phase == self.phase,
            State::Preflight
            | State::Progressing { .. }
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
