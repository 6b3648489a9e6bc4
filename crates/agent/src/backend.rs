//! The seed's task protocol, as the newer base speaks it.

use std::{sync::Arc, time::Duration};

use hyper::{HeaderMap, Method, StatusCode, header::HeaderValue};
use serde_json::{Value, json};

use crate::{
    base::segment,
    config::Config,
    http::{Answer, Http, HttpError},
    stats::{Stats, resident_bytes},
    status::Status,
    task::Task,
};

/// How many tasks the instance holds at once at most. Without it a gateway gives an instance that asks
/// while it holds a task that task again.
const TASKS_HEADER: &str = "x-bellwether-tasks";
/// Next and complete at once, and a beat now and then.
const IDLE_CONNECTIONS: usize = 2;

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
    pub(crate) outcome: Result<Value, String>,
    pub(crate) took: Duration,
}

pub(crate) struct Backend {
    http: Http,
    config: Arc<Config>,
    stats: Arc<Stats>,
    next_url: String,
    tasks_max: HeaderValue,
}

impl Backend {
    pub(crate) fn new(config: Arc<Config>, stats: Arc<Stats>) -> Self {
        Self {
            http: Http::new(IDLE_CONNECTIONS, config.limits.connect_timeout),
            next_url: config.backend.join(&format!("api/tasks/next/{}", segment(&config.agent_type))),
            tasks_max: HeaderValue::from(config.concurrency),
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

    pub(crate) async fn next(&self) -> Result<Option<Task>, BackendError> {
        let mut headers = HeaderMap::new();
        headers.insert(TASKS_HEADER, self.tasks_max.clone());
        let limit = self.config.limits.next_timeout;
        let answer = self.noted(self.http.ask(Method::GET, &self.next_url, headers, Vec::new(), limit).await)?;
        match answer.status {
            StatusCode::NO_CONTENT => Ok(None),
            StatusCode::OK if matches!(answer.body.trim_ascii(), b"" | b"null") => Ok(None),
            StatusCode::OK => serde_json::from_slice(&answer.body).map(Some).map_err(BackendError::Task),
            status => Err(BackendError::Status(status)),
        }
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
            Err(error) => {
                body["status"] = "failed".into();
                body["error"] = error.as_str().into();
            }
        }
        if let Some(attempt) = report.attempt {
            body["attempt"] = attempt.into();
        }
        self.post("api/tasks/complete", &body, self.config.limits.backend_timeout).await
    }

    async fn post(&self, path: &str, body: &Value, limit: Duration) -> Result<(), BackendError> {
        let url = self.config.backend.join(path);
        let body = body.to_string().into_bytes();
        let answer = self.noted(self.http.ask(Method::POST, &url, HeaderMap::new(), body, limit).await)?;
        if answer.status.is_success() { Ok(()) } else { Err(BackendError::Status(answer.status)) }
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
