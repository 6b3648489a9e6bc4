//! One task from the moment it was taken to its accepted, or no longer wanted, completion.

use std::{sync::Arc, time::Instant};

use hyper::StatusCode;
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    backend::{BackendError, Report},
    handler::{Handler, TaskError},
    model::Model,
    pace::Backoff,
    runtime::Shared,
    task::Task,
};

const REPORT_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(200);

/// Runs the task and reports it. Counted as active until it is over or dropped.
pub(crate) async fn work<H: Handler>(shared: Arc<Shared<H>>, task: Task) {
    let _active = Active::begin(&shared);
    let began = Instant::now();
    let (id, attempt) = (task.id.clone(), task.attempt);
    let model = shared.models.for_task(&task);
    let mut outcome = run(&shared, task, model.clone()).await;
    if let Some(fault) = shared.config.faulty() {
        outcome = fault.spoil(outcome, began.elapsed().saturating_sub(model.waited())).await;
    }
    let took = began.elapsed();
    if let Err(error) = &outcome {
        tracing::warn!(task = %id, error = %chain(error), "task failed");
    }
    let report = Report { id, attempt, outcome: outcome.map_err(|error| chain(&error)), took };
    deliver(&shared, &report).await;
}

/// A task of its own, so that a handler that panics fails its task and not the agent.
async fn run<H: Handler>(shared: &Arc<Shared<H>>, task: Task, model: Model) -> Result<Value, TaskError> {
    let shared = shared.clone();
    let mut running = JoinSet::new();
    running.spawn(async move { shared.handler.handle(task, model).await });
    match running.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(_)) | None => Err(TaskError::Panicked),
    }
}

/// The gateway may be restarting, and the lease may stand until it is back: so a report is repeated. One that
/// is refused is dropped, because somebody else holds the task then.
async fn deliver<H: Handler>(shared: &Shared<H>, report: &Report) {
    let give_up = Instant::now() + shared.config.limits.report_for;
    let mut backoff = Backoff::new(REPORT_AGAIN_AFTER, REPORT_AGAIN_AFTER * 20);
    loop {
        let error = match shared.backend.complete(report).await {
            Ok(()) => return count(shared, report, true),
            Err(error) => error,
        };
        let wait = backoff.wait();
        if error.is_transient() && Instant::now() + wait < give_up {
            tracing::debug!(task = %report.id, %error, "the completion will be sent again");
            sleep(wait).await;
            continue;
        }
        match error {
            BackendError::Status(StatusCode::CONFLICT | StatusCode::NOT_FOUND) => {
                tracing::info!(task = %report.id, %error, "the completion is no longer wanted");
            }
            _ => tracing::error!(task = %report.id, %error, "the completion could not be delivered"),
        }
        return count(shared, report, false);
    }
}

fn count<H>(shared: &Shared<H>, report: &Report, accepted: bool) {
    shared.stats.update(|figures| {
        match (accepted, &report.outcome) {
            (true, Ok(_)) => figures.tasks_processed += 1,
            (true, Err(_)) => figures.tasks_failed += 1,
            (false, _) => figures.tasks_dropped += 1,
        }
        figures.processing_time += report.took;
        figures.last_task = Some(jiff::Timestamp::now());
    });
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

struct Active<H>(Arc<Shared<H>>);

impl<H> Active<H> {
    fn begin(shared: &Arc<Shared<H>>) -> Self {
        shared.stats.update(|figures| figures.tasks_active += 1);
        Self(shared.clone())
    }
}

impl<H> Drop for Active<H> {
    fn drop(&mut self) {
        self.0.stats.update(|figures| figures.tasks_active -= 1);
    }
}
