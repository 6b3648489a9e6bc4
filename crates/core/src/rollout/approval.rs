//! Approvals: where the plan asks for one, a phase begins when a person has agreed, and not before.

use serde::{Deserialize, Serialize};

use super::{
    controller::Refusal,
    progress::World,
    state::{Rollout, State, Step, Trigger},
};
use crate::{spec::Approval, time::UnixMillis};

/// That a phase waited for a person, and who let it begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalRecord {
    pub phase: usize,
    pub asked: UnixMillis,
    /// None while it waits, and where it was rejected: the trigger of the rollback says by whom.
    pub given: Option<Consent>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub by: String,
    pub why: String,
    pub at: UnixMillis,
}

impl Rollout {
    /// The next phase, as soon as whoever has to agree has done so. Nothing of it is recorded before that: it has
    /// not begun.
    pub(crate) fn enter(&mut self, phase: usize, world: &mut World<'_>) {
        if !self.plan.phases[phase].approval.is_asked() {
            return self.begin_phase(phase, world);
        }
        self.state = State::Progressing { phase, step: Step::AwaitingApproval };
        self.approvals.push(ApprovalRecord { phase, asked: world.now.wall, given: None });
    }

    pub(crate) fn approve(&mut self, by: String, why: String, world: &mut World<'_>) -> Result<(), Refusal> {
        let State::Progressing { phase, step: Step::AwaitingApproval } = self.state else { return Ok(()) };
        if self.plan.phases[phase].approval == Approval::Other && by == self.by {
            return Err(Refusal::OwnApproval { rollout: self.id, by });
        }
        if let Some(record) = self.approvals.last_mut() {
            record.given = Some(Consent { by, why, at: world.now.wall });
        }
        self.begin_phase(phase, world);
        Ok(())
    }

    pub(crate) fn reject(&mut self, by: String, why: &str, world: &mut World<'_>) {
        let State::Progressing { phase, step: Step::AwaitingApproval } = self.state else { return };
        let name = &self.plan.phases[phase].name;
        let why =
            if why.is_empty() { format!("rejected phase {name}") } else { format!("rejected phase {name}: {why}") };
        self.roll_back(Trigger::Operator { by, why }, world);
    }
}
