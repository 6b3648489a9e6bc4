//! When the evidence of a rollback is to be written: as it begins, and again when it has ended or needs a person.

use std::collections::BTreeMap;

use bellwether_core::{
    diagnostic::chain,
    id::RolloutId,
    rollout::{Rollout, State},
};

use crate::bundle::{self, Request};

#[derive(Default)]
pub(crate) struct Bundles {
    rollout: RolloutId,
    /// For the whole rollout, or one of its parts: whether the newest bundle tells of the end.
    written: BTreeMap<Option<usize>, bool>,
}

impl Bundles {
    /// What had ended before a restart was written then; what was under way is written again.
    pub(crate) fn resumed(rollout: Option<&Rollout>) -> Self {
        let mut bundles = Self::default();
        if let Some(rollout) = rollout {
            bundles.due(rollout);
            bundles.written.retain(|_, ended| *ended);
        }
        bundles
    }

    /// Of what a bundle is to be written now: the whole rollout, or the part of this number.
    pub(crate) fn due(&mut self, rollout: &Rollout) -> Vec<Option<usize>> {
        if self.rollout != rollout.id {
            *self = Self { rollout: rollout.id, written: BTreeMap::new() };
        }
        let whole = rollout.rollback.iter().map(|_| (None, has_ended(rollout.state)));
        let parts = rollout.retreats.iter().enumerate();
        let parts = parts.map(|(number, retreat)| (Some(number), !retreat.is_under_way()));
        let due = whole.chain(parts).filter(|&(what, ended)| self.written.insert(what, ended) != Some(ended));
        due.map(|(what, _)| what).collect()
    }
}

/// Writes one, and says where it is.
pub(crate) async fn write(request: Request) {
    let rollout = request.rollout.id;
    match bundle::write(request).await {
        Ok(folder) => tracing::info!(%rollout, folder = %folder.display(), "the evidence of the rollback is written"),
        Err(error) => tracing::error!(%rollout, error = chain(&error), "cannot write the evidence of the rollback"),
    }
}

fn has_ended(state: State) -> bool {
    match state {
        State::RolledBack | State::NeedsAttention => true,
        State::Preflight
        | State::Progressing { .. }
        | State::Validating { .. }
        | State::Completed
        | State::Committed
        | State::RollingBack { .. }
        | State::PreflightFailed => false,
    }
}
