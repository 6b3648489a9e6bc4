//! Calls to the model server: a bounded pool of connections, answers streamed so that progress is seen, and
//! errors that say what went wrong. A stream that stops without its last line is an error.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{HeaderMap, Method, StatusCode, body::Incoming, header::HeaderValue};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{sleep, timeout},
};

use crate::{
    base::Base,
    breaker::Breaker,
    config::Config,
    http::{Http, HttpError},
    pace::Backoff,
    stats::Stats,
    stream::Lines,
    task::Task,
};

/// Names the task that a call works for, so that a gateway can count the call as its progress.
const TASK_HEADER: &str = "x-bellwether-task";
const TEXT_MAX: usize = 16 << 20;
/// Calls that got no answer at all are made again this often: a gateway may be restarting.
const REPEATS_MAX: u32 = 2;
const REPEAT_AFTER: Duration = Duration::from_millis(200);
const MESSAGE_MAX: usize = 300;

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("no connection to the model server became free within {0:?}")]
    Exhausted(Duration),
    #[error("the model server failed so often that it is left alone for a while")]
    BreakerOpen,
    #[error("the model server did not answer: {0}")]
    Unanswered(#[source] HttpError),
    #[error("the model server refused with status {status}: {message}")]
    Status { status: u16, message: String },
    #[error("the model server stopped: {0}")]
    Stopped(String),
    #[error("the answer broke off before its end")]
    Truncated(#[source] Option<HttpError>),
    #[error("the model server sent what is not an answer")]
    Malformed(#[source] serde_json::Error),
    #[error("the answer is longer than {TEXT_MAX} bytes")]
    TooLong,
}

impl ModelError {
    /// Whether the model server is to blame. Refusals (4xx) are about the request, and 503 is backpressure.
    fn blames_server(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500 && *status != StatusCode::SERVICE_UNAVAILABLE.as_u16(),
            Self::Unanswered(_) | Self::Stopped(_) | Self::Truncated(_) | Self::Malformed(_) => true,
            Self::Exhausted(_) | Self::BreakerOpen | Self::TooLong => false,
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    pub text: String,
    pub prompt_tokens: u64,
    pub output_tokens: u64,
}

/// With how long the model server says that it computed.
type Answered = (Generated, Option<Duration>);

/// The model server as one task sees it.
#[derive(Clone)]
pub struct Model {
    pool: Arc<Pool>,
    task: Option<HeaderValue>,
    /// In microseconds.
    waited: Arc<AtomicU64>,
}

impl Model {
    /// One answer to one prompt.
    pub async fn generate(&self, prompt: &str) -> Result<Generated, ModelError> {
        let began = Instant::now();
        let (generated, computed) = self.pool.generate(prompt, self.task.as_ref()).await?;
        let waited = began.elapsed().saturating_sub(computed.unwrap_or(Duration::MAX));
        self.waited.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(generated)
    }

    /// How long the task's calls were not being computed, as far as the model server tells: they stood in a queue,
    /// or their model was loaded.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }
}

pub(crate) struct Pool {
    http: Http,
    ollama: Base,
    model: String,
    system: Option<String>,
    connections: Semaphore,
    read_timeout: Duration,
    breaker: Mutex<Breaker>,
    stats: Arc<Stats>,
}

#[derive(Serialize)]
struct Ask<'a> {
    model: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    stream: bool,
}

#[derive(Deserialize)]
struct Piece {
    #[serde(default)]
    response: String,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    prompt_eval_count: u64,
    #[serde(default)]
    eval_count: u64,
    /// Nanoseconds.
    #[serde(default)]
    prompt_eval_duration: u64,
    #[serde(default)]
    eval_duration: Option<u64>,
}

impl Pool {
    pub(crate) fn new(config: &Config, stats: Arc<Stats>) -> Self {
        let limits = &config.limits;
        Self {
            http: Http::new(limits.model_connections, limits.connect_timeout),
            ollama: config.ollama.clone(),
            model: config.model.clone(),
            system: config.system.clone(),
            connections: Semaphore::new(limits.model_connections),
            read_timeout: limits.model_read_timeout,
            breaker: Mutex::new(Breaker::new(limits.breaker_failures, limits.breaker_open)),
            stats,
        }
    }

    pub(crate) fn for_task(self: &Arc<Self>, task: &Task) -> Model {
        // An id that no header can carry goes without: the call is then only not counted for its task.
        Model { pool: self.clone(), task: HeaderValue::from_str(&task.id_text()).ok(), waited: Arc::default() }
    }

    pub(crate) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn generate(&self, prompt: &str, task: Option<&HeaderValue>) -> Result<Answered, ModelError> {
        let _connection = self.connection().await?;
        if !self.breaker().admit(Instant::now()) {
            return Err(ModelError::BreakerOpen);
        }
        self.stats.update(|figures| figures.ollama_requests += 1);
        let outcome = self.call(prompt, task).await;
        self.judge(&outcome);
        outcome
    }

    async fn connection(&self) -> Result<SemaphorePermit<'_>, ModelError> {
        if let Ok(free) = self.connections.try_acquire() {
            return Ok(free);
        }
        let _waiting = Waiting::begin(&self.stats);
        match timeout(self.read_timeout, self.connections.acquire()).await {
            Ok(Ok(free)) => Ok(free),
            Ok(Err(_)) | Err(_) => Err(ModelError::Exhausted(self.read_timeout)),
        }
    }

    async fn call(&self, prompt: &str, task: Option<&HeaderValue>) -> Result<Answered, ModelError> {
        let ask = Ask { model: &self.model, prompt, system: self.system.as_deref(), stream: true };
        let body = serde_json::to_vec(&ask).map_err(ModelError::Malformed)?;
        let response = self.send(body, task).await.map_err(ModelError::Unanswered)?;
        let status = response.status();
        let mut lines = Lines::new(response.into_body());
        if !status.is_success() {
            let first = lines.next(self.read_timeout).await.ok().flatten().unwrap_or_default();
            return Err(ModelError::Status { status: status.as_u16(), message: message(&first) });
        }
        let mut text = String::new();
        loop {
            let line = match lines.next(self.read_timeout).await {
                Ok(Some(line)) => line,
                Ok(None) => return Err(ModelError::Truncated(None)),
                Err(error) => return Err(ModelError::Truncated(Some(error))),
            };
            let piece: Piece = serde_json::from_slice(&line).map_err(ModelError::Malformed)?;
            if let Some(error) = piece.error {
                return Err(ModelError::Stopped(error));
            }
            if text.len() + piece.response.len() > TEXT_MAX {
                return Err(ModelError::TooLong);
            }
            text.push_str(&piece.response);
            self.stats.update(|figures| figures.pieces += 1);
            if piece.done {
                lines.finish().await;
                let Piece { prompt_eval_count: prompt_tokens, eval_count: output_tokens, .. } = piece;
                let nanos = piece.eval_duration.map(|eval| eval.saturating_add(piece.prompt_eval_duration));
                return Ok((Generated { text, prompt_tokens, output_tokens }, nanos.map(Duration::from_nanos)));
            }
        }
    }

    async fn send(&self, body: Vec<u8>, task: Option<&HeaderValue>) -> Result<hyper::Response<Incoming>, HttpError> {
        let url = self.ollama.join("api/generate");
        let mut headers = HeaderMap::new();
        if let Some(task) = task {
            headers.insert(TASK_HEADER, task.clone());
        }
        let mut backoff = Backoff::new(REPEAT_AFTER, REPEAT_AFTER * 4);
        let mut repeats = 0;
        loop {
            let answer = self.http.send(Method::POST, &url, headers.clone(), body.clone());
            let error = match timeout(self.read_timeout, answer).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) if error.is_transient() && repeats < REPEATS_MAX => error,
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) => return Err(HttpError::TimedOut(self.read_timeout)),
            };
            repeats += 1;
            tracing::warn!(%error, repeats, "a model call got no answer and is made again");
            sleep(backoff.wait()).await;
        }
    }

    fn judge(&self, outcome: &Result<Answered, ModelError>) {
        let blamed = outcome.as_ref().is_err_and(ModelError::blames_server);
        self.stats.update(|figures| {
            figures.ollama_failures += u64::from(outcome.is_err());
            figures.ollama_healthy = !blamed;
        });
        if blamed {
            self.breaker().failed(Instant::now());
        } else if outcome.is_ok() {
            self.breaker().succeeded();
        }
    }
}

/// Counts a task as queued while it waits, also when it stops waiting by being dropped.
struct Waiting<'a>(&'a Stats);

impl<'a> Waiting<'a> {
    fn begin(stats: &'a Stats) -> Self {
        stats.update(|figures| figures.tasks_queued += 1);
        Self(stats)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.update(|figures| figures.tasks_queued -= 1);
    }
}

/// What a refusal says: Ollama's `error`, a problem's `detail` or `title`, or the text as it is.
fn message(body: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let said = ["error", "detail", "title"].into_iter().find_map(|key| json.get(key)?.as_str().map(str::to_owned));
    said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()).chars().take(MESSAGE_MAX).collect()
}
