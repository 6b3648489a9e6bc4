//! The seed's task protocol, as the newer base speaks it.

use std::{sync::Arc, time::Duration};

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use crate::{
    base::segment,
    config::Config,
    connections::Bounds,
    http::{Answer, Http, HttpError},
    stats::{Stats, resident_bytes},
    status::Status,
    task::Task,
    trace::Trace,
};

/// How many tasks the instance holds at once at most. Without it a gateway gives an instance that asks
/// while it holds a task that task again.
const TASKS_HEADER: HeaderName = HeaderName::from_static("x-bellwether-tasks");
const PREFER: HeaderName = HeaderName::from_static("prefer");
/// Beside a question that is held: reports, progress, and a beat now and then.
const CONNECTIONS_MAX: usize = 8;
const IDLE_CONNECTIONS: usize = 2;
/// A gateway holds a question no longer than this.
const HOLD_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the task is not usable: {0}")]
    Task(#[source] serde_json::Error),
}

impl BackendError {
    /// The backend did not say no; asking again may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Status(status) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Task(_) => false,
        }
    }
}

/// What came of a task.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) id: Value,
    pub(crate) attempt: Option<u64>,
    pub(crate) outcome: Result<Value, Failed>,
    pub(crate) took: Duration,
}

#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: String,
    /// Another attempt would fail just the same.
    pub(crate) is_final: bool,
    /// For the next attempt.
    pub(crate) checkpoint: Option<Value>,
}

pub(crate) struct Backend {
    http: Http,
    config: Arc<Config>,
    stats: Arc<Stats>,
    next_path: String,
    /// What goes with each question for a task.
    next_headers: HeaderMap,
}

impl Backend {
    pub(crate) fn new(config: Arc<Config>, stats: Arc<Stats>) -> Self {
        let limits = &config.limits;
        let bounds = Bounds {
            open_max: CONNECTIONS_MAX,
            idle_max: IDLE_CONNECTIONS,
            acquire_timeout: limits.acquire_timeout,
            connect_timeout: limits.connect_timeout,
            keep_alive: limits.keep_alive,
            idle_for: limits.connection_idle,
        };
        let mut next_headers = HeaderMap::from_iter([(TASKS_HEADER, HeaderValue::from(config.concurrency))]);
        // An answer that comes at the last moment must still find somebody who waits for it.
        let hold = HOLD_MAX.min(limits.next_timeout.mul_f64(0.9)).as_secs();
        if let Some(prefer) = HeaderValue::try_from(format!("wait={hold}")).ok().filter(|_| hold > 0) {
            next_headers.insert(PREFER, prefer);
        }
        Self {
            http: Http::new(config.backend.clone(), bounds),
            next_path: format!("api/tasks/next/{}", segment(&config.agent_type)),
            next_headers,
            config,
            stats,
        }
    }

    pub(crate) async fn register(&self) -> Result<(), BackendError> {
        let config = &self.config;
        let body = json!({
            "agent_name": config.agent_name,
            "agent_type": config.agent_type,
            "agent_version": env!("CARGO_PKG_VERSION"),
            "model": config.model,
            "max_concurrent_tasks": config.concurrency,
            "capabilities": [],
            "status": Status::Registering,
            "timestamp": timestamp(),
        });
        self.post("api/agents/register", &body, config.limits.backend_timeout).await
    }

    pub(crate) async fn heartbeat(&self, status: Status, breaker_trips: u64) -> Result<(), BackendError> {
        let figures = self.stats.read();
        let mut body = json!({
            "agent_name": self.config.agent_name,
            "status": status,
            "tasks_processed": figures.tasks_processed,
            "tasks_failed": figures.tasks_failed,
            "tasks_queued": figures.tasks_queued,
            "cpu_usage_percent": self.stats.cpu_percent(),
            "avg_processing_time": figures.average_seconds(),
            "circuit_breaker_trips": breaker_trips,
            "timestamp": timestamp(),
        });
        // What cannot be measured is left out, not reported as nought.
        if let Some(bytes) = resident_bytes() {
            body["memory_usage_mb"] = mebibytes(bytes).into();
        }
        self.post("api/agents/heartbeat", &body, self.config.limits.heartbeat_timeout).await
    }

    /// A task and its place in a trace, or none. The backend may take its time to say that there is none.
    pub(crate) async fn next(&self) -> Result<Option<(Task, Trace)>, BackendError> {
        let limit = self.config.limits.next_timeout;
        let headers = self.next_headers.clone();
        let answer = self.noted(self.http.ask(Method::GET, &self.next_path, headers, Vec::new(), limit).await)?;
        match answer.status {
            StatusCode::NO_CONTENT => Ok(None),
            StatusCode::OK if matches!(answer.body.trim_ascii(), b"" | b"null") => Ok(None),
            StatusCode::OK => {
                let task: Task = serde_json::from_slice(&answer.body).map_err(BackendError::Task)?;
                let parent = task.fields.get("traceparent").and_then(Value::as_str);
                let trace = Trace::of_task(parent, &answer.headers);
                Ok(Some((task, trace)))
            }
            status => Err(BackendError::Status(status)),
        }
    }

    pub(crate) async fn progress(
        &self,
        id: &Value,
        attempt: Option<u64>,
        checkpoint: Option<&Value>,
    ) -> Result<(), BackendError> {
        let mut body = json!({ "task_id": id, "agent_name": self.config.agent_name });
        if let Some(attempt) = attempt {
            body["attempt"] = attempt.into();
        }
        if let Some(checkpoint) = checkpoint {
            body["checkpoint"] = checkpoint.clone();
        }
        self.post("api/tasks/progress", &body, self.config.limits.backend_timeout).await
    }

    pub(crate) async fn complete(&self, report: &Report) -> Result<(), BackendError> {
        let mut body = json!({
            "task_id": report.id,
            "agent_name": self.config.agent_name,
            "processing_time": report.took.as_secs_f64(),
            "timestamp": timestamp(),
        });
        match &report.outcome {
            Ok(result) => {
                body["status"] = "completed".into();
                body["result"] = result.clone();
            }
            Err(failed) => {
                body["status"] = "failed".into();
                body["error"] = failed.error.as_str().into();
                if failed.is_final {
                    body["retry"] = false.into();
                }
                if let Some(checkpoint) = &failed.checkpoint {
                    body["checkpoint"] = checkpoint.clone();
                }
            }
        }
        if let Some(attempt) = report.attempt {
            body["attempt"] = attempt.into();
        }
        self.post("api/tasks/complete", &body, self.config.limits.backend_timeout).await
    }

    async fn post(&self, path: &str, body: &Value, limit: Duration) -> Result<(), BackendError> {
        let body = body.to_string().into_bytes();
        let answer = self.noted(self.http.ask(Method::POST, path, HeaderMap::new(), body, limit).await)?;
        if answer.status.is_success() { Ok(()) } else { Err(BackendError::Status(answer.status)) }
    }

    pub(crate) fn reap(&self) {
        self.http.reap();
    }

    fn noted(&self, answer: Result<Answer, HttpError>) -> Result<Answer, HttpError> {
        let healthy = answer.as_ref().is_ok_and(|answer| !answer.status.is_server_error());
        self.stats.update(|figures| figures.backend_healthy = healthy);
        answer
    }
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory of a process fits 53 bits")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}

pub(crate) fn timestamp() -> String {
    jiff::Timestamp::now().to_string()
}
