//! One task from the moment it was taken to its accepted, or no longer wanted, completion.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::StatusCode;
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};
use tracing::Instrument;

use crate::{
    backend::{BackendError, Failed, Report},
    handler::{Handler, TaskError},
    model::Model,
    pace::Backoff,
    progress::Progress,
    runtime::Shared,
    task::Task,
    trace::Trace,
};

const REPORT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Runs the task and reports it. Counted as active until it is over or dropped. Every line that is logged meanwhile
/// carries the task's id.
pub(crate) async fn work<H: Handler>(shared: Arc<Shared<H>>, mut task: Task, trace: Trace) {
    let progress = Arc::new(Progress::new(shared.backend.clone(), &task));
    task.progress = Some(progress.clone());
    let span = tracing::info_span!(
        "task",
        task = task.id_text(),
        attempt = task.attempt,
        agent = shared.config.agent_name,
        trace = trace.id()
    );
    carry_out(shared, task, trace, progress).instrument(span).await;
}

async fn carry_out<H: Handler>(shared: Arc<Shared<H>>, task: Task, trace: Trace, progress: Arc<Progress>) {
    let _active = Active::begin(&shared, progress.clone());
    // It may have come on a question that was asked before the model server began to fail.
    shared.models.admission().await;
    tracing::debug!("begun");
    let began = Instant::now();
    let model = Model::new(shared.models.clone(), &task, trace);
    let mut outcome = run(&shared, task, model.clone()).await;
    if let Some(fault) = shared.config.faulty() {
        outcome = fault.spoil(outcome, began.elapsed().saturating_sub(model.waited())).await;
    }
    let took = began.elapsed();
    let outcome = match outcome {
        Ok(result) => Ok(result),
        Err(TaskError::Gone) => {
            tracing::info!("given up: it is no longer this agent's");
            return count(&shared, took, Fate::Dropped);
        }
        Err(error) => {
            let (is_final, error) = (error.is_final(), chain(&error));
            tracing::warn!(%error, is_final, "task failed");
            Err(Failed { error, is_final, checkpoint: progress.checkpoint() })
        }
    };
    deliver(&shared, &Report { id: progress.id.clone(), attempt: progress.attempt, outcome, took }).await;
}

/// A task of its own, so that a handler that panics fails its task and not the agent.
async fn run<H: Handler>(shared: &Arc<Shared<H>>, task: Task, model: Model) -> Result<Value, TaskError> {
    let shared = shared.clone();
    let mut running = JoinSet::new();
    running.spawn(async move { shared.handler.handle(task, model).await }.in_current_span());
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
            Ok(()) => {
                let fate = if report.outcome.is_ok() { Fate::Processed } else { Fate::Failed };
                tracing::info!(seconds = report.took.as_secs_f64(), ok = report.outcome.is_ok(), "reported");
                return count(shared, report.took, fate);
            }
            Err(error) => error,
        };
        let wait = backoff.wait();
        if error.is_transient() && Instant::now() + wait < give_up {
            tracing::debug!(%error, "the completion will be sent again");
            sleep(wait).await;
            continue;
        }
        match error {
            BackendError::Status(StatusCode::CONFLICT | StatusCode::NOT_FOUND) => {
                tracing::info!(%error, "the completion is no longer wanted");
            }
            _ => tracing::error!(%error, "the completion could not be delivered"),
        }
        return count(shared, report.took, Fate::Dropped);
    }
}

#[derive(Clone, Copy)]
enum Fate {
    Processed,
    Failed,
    Dropped,
}

fn count<H>(shared: &Shared<H>, took: Duration, fate: Fate) {
    shared.stats.update(|figures| {
        match fate {
            Fate::Processed => figures.tasks_processed += 1,
            Fate::Failed => figures.tasks_failed += 1,
            Fate::Dropped => figures.tasks_dropped += 1,
        }
        figures.processing_time += took;
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

struct Active<H> {
    shared: Arc<Shared<H>>,
    progress: Arc<Progress>,
}

impl<H> Active<H> {
    fn begin(shared: &Arc<Shared<H>>, progress: Arc<Progress>) -> Self {
        shared.stats.update(|figures| figures.tasks_active += 1);
        shared.held.lock().push(progress.clone());
        Self { shared: shared.clone(), progress }
    }
}

impl<H> Drop for Active<H> {
    fn drop(&mut self) {
        self.shared.stats.update(|figures| figures.tasks_active -= 1);
        self.shared.held.end(&self.progress);
    }
}
