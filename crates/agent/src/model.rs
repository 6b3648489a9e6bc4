//! The model server as one task sees it, and what can go wrong with a call. A failure is never an empty answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, StatusCode,
    header::{HeaderName, HeaderValue},
};

use crate::{http::HttpError, pool::Pool, progress::Progress, task::Task, trace::Trace};

/// Names the task that a call works for, so that a gateway can count the call as its progress.
const TASK_HEADER: HeaderName = HeaderName::from_static("x-bellwether-task");

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
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl ModelError {
    /// Whether the model server is to blame. Refusals (4xx) are about the request, and 503 is backpressure.
    pub(crate) fn blames_server(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status >= 500 && *status != StatusCode::SERVICE_UNAVAILABLE.as_u16(),
            Self::Unanswered(_) | Self::Stopped(_) | Self::Truncated(_) | Self::Malformed(_) => true,
            Self::Exhausted(_) | Self::BreakerOpen | Self::TooLong(_) => false,
        }
    }

    /// Whether the request is to blame, so that it would be refused again. 408 and 429 are about the moment.
    pub(crate) fn blames_request(&self) -> bool {
        match self {
            Self::Status { status, .. } => (400..500).contains(status) && !matches!(status, 408 | 429),
            Self::TooLong(_) => true,
            Self::Exhausted(_) | Self::BreakerOpen | Self::Unanswered(_) | Self::Stopped(_) => false,
            Self::Truncated(_) | Self::Malformed(_) => false,
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

/// The model server as one task sees it.
#[derive(Clone)]
pub struct Model {
    pool: Arc<Pool>,
    call: Arc<Call>,
}

/// For whom calls are made.
pub(crate) struct Call {
    task: Option<HeaderValue>,
    trace: Trace,
    progress: Option<Arc<Progress>>,
    /// In microseconds.
    waited: AtomicU64,
}

impl Model {
    pub(crate) fn new(pool: Arc<Pool>, task: &Task, trace: Trace) -> Self {
        // An id that no header can carry goes without: the call is then only not counted for its task.
        let header = HeaderValue::from_str(&task.id_text()).ok().filter(|_| task.progress.is_some());
        let call = Call { task: header, trace, progress: task.progress.clone(), waited: AtomicU64::new(0) };
        Self { pool, call: Arc::new(call) }
    }

    /// One answer to one prompt.
    pub async fn generate(&self, prompt: &str) -> Result<Generated, ModelError> {
        let began = Instant::now();
        let (generated, computed) = self.pool.generate(prompt, &self.call).await?;
        let waited = began.elapsed().saturating_sub(computed.unwrap_or(Duration::MAX));
        self.call.waited.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(generated)
    }

    /// Where the task stands in a trace, for calls that a handler makes on its own.
    pub fn trace(&self) -> &Trace {
        &self.call.trace
    }

    /// How long the task's calls were not being computed, as far as the model server tells: they stood in a queue,
    /// or their model was loaded.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_micros(self.call.waited.load(Ordering::Relaxed))
    }
}

impl Call {
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(task) = &self.task {
            headers.insert(TASK_HEADER, task.clone());
        }
        self.trace.tell(&mut headers);
        headers
    }

    /// A piece of an answer has come.
    pub(crate) fn sign(&self) {
        if let Some(progress) = &self.progress {
            progress.sign();
        }
    }
}
