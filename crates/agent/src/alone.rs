//! Tasks without a backend: straight to the model server and back, for a person or a script.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    config::Config,
    handler::{Handler, TaskError},
    model::Model,
    pool::Pool,
    stats::Stats,
    task::Task,
    trace::Trace,
};

/// Registers nowhere, beats nowhere and serves nothing.
pub struct Alone<H> {
    models: Arc<Pool>,
    handler: H,
    /// For as many tasks at once as the agent takes.
    room: Semaphore,
}

impl<H: Handler> Alone<H> {
    pub fn new(config: &Config, handler: H) -> Self {
        let stats = Arc::new(Stats::new());
        Self { models: Arc::new(Pool::new(config, stats)), handler, room: Semaphore::new(config.concurrency.max(1)) }
    }

    pub async fn run(&self, task: Task) -> Result<Value, TaskError> {
        // It is never closed.
        let _place = self.room.acquire().await.ok();
        let model = Model::new(self.models.clone(), &task, Trace::begin());
        self.handler.handle(task, model).await
    }
}
