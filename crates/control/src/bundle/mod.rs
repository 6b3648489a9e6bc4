//! The root-cause evidence of a rollback (R45): a folder with what fired, the last minutes of every metric, the
//! logs of the instances to blame and the journal's slice, and a page that says it to a person.
//!
//! Written when a rollback begins and again when it has ended; the second takes the place of the first in one
//! step, so that nobody sees half a folder. What cannot be read is named and does not stop the rest.

mod blame;
mod document;
mod facts;
mod files;
mod folder;
mod gather;
mod history;
mod html;
mod page;
mod redact;
mod retention;
mod tails;
mod tally;
#[cfg(test)]
mod tests;
mod text;
mod words;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bellwether_core::{
    id::RolloutId,
    port::gateway::GatewayAnswer,
    rollout::{ControllerView, Rollout},
    spec::Spec,
    time::UnixMillis,
};

use crate::links::Link;

/// What a bundle is made from, as it stood when it was asked for.
pub(crate) struct Request {
    pub(crate) spec: Arc<Spec>,
    /// The bundle goes to `evidence/` in it; `logs/` in it is read.
    pub(crate) state_dir: PathBuf,
    pub(crate) journal: PathBuf,
    pub(crate) gateway: Link<GatewayAnswer>,
    pub(crate) rollout: Rollout,
    /// Which of [`Rollout::retreats`] it is about; none for the rollback of the whole rollout.
    pub(crate) retreat: Option<usize>,
    pub(crate) view: ControllerView,
    /// The number of the newest one-second record.
    pub(crate) last_second: u64,
    pub(crate) now: UnixMillis,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error("rollout {0} is not being rolled back, so there is nothing to give evidence of")]
    NoRollback(RolloutId),
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the facts of the rollback cannot be put into words")]
    Form(#[from] serde_json::Error),
    #[error("the writing was ended")]
    Ended(#[from] tokio::task::JoinError),
}

/// Where the bundle of a rollback is, or will be.
pub(crate) fn folder(state_dir: &Path, rollout: RolloutId, retreat: Option<usize>) -> PathBuf {
    let name = match retreat {
        None => format!("rollout-{rollout}"),
        Some(retreat) => format!("rollout-{rollout}-part-{}", retreat + 1),
    };
    state_dir.join("evidence").join(name)
}

/// Gathers and writes; the answer is the folder. Calls are served one after the other, in the order in which they
/// were made.
pub(crate) async fn write(request: Request) -> Result<PathBuf, BundleError> {
    static WRITING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _one_at_a_time = WRITING.lock().await;
    let folder = folder(&request.state_dir, request.rollout.id, request.retreat);
    let facts = gather::gather(request).await?;
    tokio::task::spawn_blocking(move || {
        let files = files::all(facts)?;
        folder::put(&folder, &files).map_err(|(path, source)| BundleError::Write { path, source })?;
        if let Err(error) = folder.parent().map_or(Ok(0), |all| retention::tidy(all, SystemTime::now())) {
            tracing::warn!(%error, "old evidence stays");
        }
        Ok(folder)
    })
    .await?
}
