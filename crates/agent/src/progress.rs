//! How far a task is: told to the backend, and kept for the next attempt.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::StatusCode;
use serde_json::Value;

use crate::{
    backend::{Backend, BackendError},
    handler::TaskError,
    task::Task,
};

/// A handler may save with every piece of an answer; the backend writes each checkpoint to a disk.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// As a gateway takes it.
const CHECKPOINT_MAX: usize = 64 << 10;

pub(crate) struct Progress {
    backend: Arc<Backend>,
    pub(crate) id: Value,
    pub(crate) attempt: Option<u64>,
    kept: Mutex<Kept>,
}

struct Kept {
    checkpoint: Option<Value>,
    is_sent: bool,
    sent_at: Option<Instant>,
    /// The task began, a piece of an answer came, or the handler saved.
    sign_at: Instant,
}

impl Progress {
    pub(crate) fn new(backend: Arc<Backend>, task: &Task) -> Self {
        let kept = Kept { checkpoint: None, is_sent: true, sent_at: None, sign_at: Instant::now() };
        Self { backend, id: task.id.clone(), attempt: task.attempt, kept: Mutex::new(kept) }
    }

    pub(crate) async fn save(&self, checkpoint: Value) -> Result<(), TaskError> {
        let bytes = checkpoint.to_string().len();
        if bytes > CHECKPOINT_MAX {
            return Err(TaskError::CheckpointTooLarge { bytes, bytes_max: CHECKPOINT_MAX });
        }
        let is_due = {
            let mut kept = self.lock();
            kept.checkpoint = Some(checkpoint);
            kept.is_sent = false;
            kept.sign_at = Instant::now();
            kept.sent_at.is_none_or(|at| at.elapsed() >= SEND_EVERY)
        };
        if is_due { self.send().await } else { Ok(()) }
    }

    /// What was saved since it was last sent.
    pub(crate) async fn send(&self) -> Result<(), TaskError> {
        let checkpoint = {
            let mut kept = self.lock();
            if kept.is_sent {
                return Ok(());
            }
            (kept.is_sent, kept.sent_at) = (true, Some(Instant::now()));
            kept.checkpoint.clone()
        };
        match self.backend.progress(&self.id, self.attempt, checkpoint.as_ref()).await {
            Ok(()) => {}
            Err(BackendError::Status(StatusCode::CONFLICT)) => return Err(TaskError::Gone),
            Err(error) => {
                self.lock().is_sent = false;
                tracing::debug!(%error, "the checkpoint was not taken");
            }
        }
        Ok(())
    }

    pub(crate) fn checkpoint(&self) -> Option<Value> {
        self.lock().checkpoint.clone()
    }

    pub(crate) fn sign(&self) {
        self.lock().sign_at = Instant::now();
    }

    /// Since there was any sign of progress.
    pub(crate) fn silence(&self) -> Duration {
        self.lock().sign_at.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("id", &self.id).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}
