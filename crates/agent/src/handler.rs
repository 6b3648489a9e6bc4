//! What an agent does with a task.

use std::future::Future;

use serde_json::Value;

use crate::{
    model::{Model, ModelError},
    task::Task,
};

/// Why a task failed. It is reported with this text.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the task has neither prompt nor payload")]
    NoPrompt,
    #[error("the model answered with nothing")]
    Empty,
    /// The work failed; another attempt may do better.
    #[error("{0}")]
    Other(String),
    /// The work cannot be done, so that it is not to be tried again.
    #[error("{0}")]
    Impossible(String),
    #[error("the checkpoint has {bytes} bytes; {bytes_max} are taken")]
    CheckpointTooLarge { bytes: usize, bytes_max: usize },
    /// Somebody else holds it, or nobody wants it any more. Nothing is reported.
    #[error("the task is no longer this agent's")]
    Gone,
    #[error("the handler panicked")]
    Panicked,
}

impl TaskError {
    /// Whether another attempt would fail just the same.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Model(error) => error.blames_request(),
            Self::NoPrompt | Self::Impossible(_) | Self::CheckpointTooLarge { .. } => true,
            Self::Empty | Self::Other(_) | Self::Gone | Self::Panicked => false,
        }
    }
}

/// The work of an agent. Several calls run at once, up to the agent's concurrency. A call is dropped when
/// the drain limit passes.
pub trait Handler: Send + Sync + 'static {
    fn handle(&self, task: Task, model: Model) -> impl Future<Output = Result<Value, TaskError>> + Send;
}

/// Runs the task's prompt through the model. The result is the answer's text.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromptHandler;

impl Handler for PromptHandler {
    async fn handle(&self, task: Task, model: Model) -> Result<Value, TaskError> {
        let prompt = task.prompt().ok_or(TaskError::NoPrompt)?;
        let generated = model.generate(&prompt).await?;
        // A model that says nothing has not done the task, whatever its status.
        if generated.text.trim().is_empty() { Err(TaskError::Empty) } else { Ok(Value::String(generated.text)) }
    }
}
