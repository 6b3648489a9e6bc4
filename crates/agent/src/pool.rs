//! Calls to the model server: a bounded pool of connections, answers streamed so that progress is seen, and a breaker.
//! A stream that stops without its last line is an error.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{HeaderMap, Method, Response, body::Incoming};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    breaker::Breaker,
    config::Config,
    connections::{Bounds, Counts, Lease},
    http::{Http, HttpError},
    model::{Call, Generated, ModelError},
    pace::Backoff,
    stats::Stats,
    stream::Lines,
};

const TEXT_MAX: usize = 16 << 20;
/// Calls that got no answer at all are made again this often: a gateway may be restarting.
const REPEATS_MAX: u32 = 2;
const REPEAT_AFTER: Duration = Duration::from_millis(200);
const MESSAGE_MAX: usize = 300;
/// Between two looks whether a model server that was left alone may be asked again.
const ADMISSION_BEAT: Duration = Duration::from_millis(250);

/// With how long the model server says that it computed.
type Answered = (Generated, Option<Duration>);

pub(crate) struct Pool {
    http: Http,
    model: String,
    system: Option<String>,
    /// As the server takes it: a span, or a number of seconds.
    keep_alive: Option<Value>,
    read_timeout: Duration,
    warm_up: Duration,
    breaker: Mutex<Breaker>,
    stats: Arc<Stats>,
}

#[derive(Serialize)]
struct Ask<'a> {
    model: &'a str,
    prompt: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<&'a Value>,
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
        let bounds = Bounds {
            open_max: limits.model_connections,
            idle_max: limits.model_connections,
            acquire_timeout: limits.acquire_timeout,
            connect_timeout: limits.connect_timeout,
            keep_alive: limits.keep_alive,
            idle_for: limits.connection_idle,
        };
        let span = |text: &String| text.parse::<i64>().map_or_else(|_| Value::String(text.clone()), Value::from);
        Self {
            http: Http::new(config.ollama.clone(), bounds),
            model: config.model.clone(),
            system: config.system.clone(),
            keep_alive: config.preload.as_ref().map(span),
            read_timeout: limits.model_read_timeout,
            warm_up: limits.warm_up,
            breaker: Mutex::new(Breaker::new(limits.breaker_failures, limits.breaker_open)),
            stats,
        }
    }

    pub(crate) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.http.counts()
    }

    pub(crate) fn reap(&self) {
        self.http.reap();
    }

    /// Opens a connection before the first task needs it, and has the model loaded where that is asked for. A model
    /// server that is away is no reason not to start: what it does to tasks is the breaker's to see.
    pub(crate) async fn warm_up(&self) {
        if let Err(error) = self.reach().await {
            tracing::warn!(%error, "the model server cannot be reached");
            return;
        }
        if self.keep_alive.is_some()
            && let Err(error) = self.load().await
        {
            tracing::warn!(%error, model = self.model, "the model was not loaded");
        }
    }

    /// Any answer will do: it came over a connection, which is there now.
    async fn reach(&self) -> Result<(), HttpError> {
        let give_up = Instant::now() + self.warm_up;
        let mut backoff = Backoff::new(REPEAT_AFTER, REPEAT_AFTER * 10);
        loop {
            let answer = self.http.ask(Method::GET, "api/version", HeaderMap::new(), Vec::new(), self.warm_up).await;
            let healthy = answer.as_ref().is_ok_and(|answer| !answer.status.is_server_error());
            self.stats.update(|figures| figures.ollama_healthy = healthy);
            let wait = backoff.wait();
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if !error.is_transient() || Instant::now() + wait > give_up => return Err(error),
                Err(_) => sleep(wait).await,
            }
        }
    }

    /// A question without a prompt loads the model and answers when it is there.
    async fn load(&self) -> Result<(), ModelError> {
        let body = json!({ "model": self.model, "keep_alive": self.keep_alive, "stream": false });
        self.stats.update(|figures| figures.ollama_requests += 1);
        let body = body.to_string().into_bytes();
        let outcome = match self.http.ask(Method::POST, "api/generate", HeaderMap::new(), body, self.read_timeout).await
        {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(ModelError::Status { status: answer.status.as_u16(), message: message(&answer.body) }),
            Err(error) => Err(ModelError::Unanswered(error)),
        };
        self.judge(&outcome);
        outcome
    }

    /// Until the model server may be asked again, for a task that came when it was being left alone already.
    pub(crate) async fn admission(&self) {
        let left = || self.breaker().closed_for(Instant::now());
        let _waiting = (!left().is_zero()).then(|| Waiting::begin(&self.stats));
        while !left().is_zero() {
            sleep(left().min(ADMISSION_BEAT)).await;
        }
    }

    pub(crate) async fn generate(&self, prompt: &str, call: &Call) -> Result<Answered, ModelError> {
        if !self.breaker().closed_for(Instant::now()).is_zero() {
            return Err(ModelError::BreakerOpen);
        }
        let lease = self.connection().await?;
        if !self.breaker().admit(Instant::now()) {
            lease.into_iter().for_each(Lease::keep);
            return Err(ModelError::BreakerOpen);
        }
        self.stats.update(|figures| figures.ollama_requests += 1);
        let outcome = self.call(lease, prompt, call).await;
        self.judge(&outcome);
        outcome
    }

    /// That the server cannot be reached is an outcome of a call; that there was no room is not.
    async fn connection(&self) -> Result<Result<Lease, HttpError>, ModelError> {
        let _waiting = self.http.is_busy().then(|| Waiting::begin(&self.stats));
        match self.http.acquire().await {
            Err(HttpError::Exhausted(limit)) => Err(ModelError::Exhausted(limit)),
            lease => Ok(lease),
        }
    }

    async fn call(&self, lease: Result<Lease, HttpError>, prompt: &str, call: &Call) -> Result<Answered, ModelError> {
        let ask = Ask {
            model: &self.model,
            prompt,
            system: self.system.as_deref(),
            keep_alive: self.keep_alive.as_ref(),
            stream: true,
        };
        let body = serde_json::to_vec(&ask).map_err(ModelError::Malformed)?.into();
        let (response, lease) = self.send(lease, body, call).await.map_err(ModelError::Unanswered)?;
        let status = response.status();
        let mut lines = Lines::new(response.into_body());
        if !status.is_success() {
            let first = lines.next(self.read_timeout).await.ok().flatten().unwrap_or_default();
            lines.finish(lease).await;
            return Err(ModelError::Status { status: status.as_u16(), message: message(&first) });
        }
        let mut text = String::new();
        loop {
            let line = match lines.next(self.read_timeout).await {
                Ok(Some(line)) => line,
                ended => {
                    lease.broke();
                    return Err(ModelError::Truncated(ended.err()));
                }
            };
            let piece: Piece = serde_json::from_slice(&line).map_err(ModelError::Malformed)?;
            if let Some(error) = piece.error {
                return Err(ModelError::Stopped(error));
            }
            if text.len() + piece.response.len() > TEXT_MAX {
                return Err(ModelError::TooLong(TEXT_MAX));
            }
            text.push_str(&piece.response);
            self.stats.update(|figures| figures.pieces += 1);
            call.sign();
            if piece.done {
                lines.finish(lease).await;
                let Piece { prompt_eval_count: prompt_tokens, eval_count: output_tokens, .. } = piece;
                let nanos = piece.eval_duration.map(|eval| eval.saturating_add(piece.prompt_eval_duration));
                return Ok((Generated { text, prompt_tokens, output_tokens }, nanos.map(Duration::from_nanos)));
            }
        }
    }

    async fn send(
        &self,
        mut lease: Result<Lease, HttpError>,
        body: Bytes,
        call: &Call,
    ) -> Result<(Response<Incoming>, Lease), HttpError> {
        let mut backoff = Backoff::new(REPEAT_AFTER, REPEAT_AFTER * 4);
        let mut repeats = 0;
        loop {
            let answer =
                async { self.http.send(lease?, Method::POST, "api/generate", call.headers(), body.clone()).await };
            let error = match timeout(self.read_timeout, answer).await {
                Ok(Ok(answered)) => return Ok(answered),
                Ok(Err(error)) if error.is_transient() && repeats < REPEATS_MAX => error,
                Ok(Err(error)) => return Err(error),
                // It may still be computing; asked again it would compute twice.
                Err(_elapsed) => return Err(HttpError::TimedOut(self.read_timeout)),
            };
            repeats += 1;
            tracing::warn!(%error, repeats, "a model call got no answer and is made again");
            sleep(backoff.wait()).await;
            lease = self.http.acquire().await;
        }
    }

    fn judge<T>(&self, outcome: &Result<T, ModelError>) {
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
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = ["error", "detail", "title"].into_iter().find_map(|key| json.get(key)?.as_str().map(str::to_owned));
    said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()).chars().take(MESSAGE_MAX).collect()
}
