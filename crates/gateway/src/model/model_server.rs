//! A model server: the connections to it, and whether anything is to be sent there.
//!
//! It is looked after from here as a whole, beside the breakers of single agents: a server that cannot be reached, or does
//! not generate, gets nothing until it answers again, with a generation if it had anything loaded.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bellwether_core::{
    inference::{Breaker, BreakerSettings, CallEnd, Permitted, Runner, ServerId},
    time::{Millis, Nanos},
};
use hyper::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT},
};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{
    exchange::{self, Fetched},
    upstream::{Outgoing, Upstream},
};
use crate::breakers::Shown;

/// Longer than [`bellwether_core::inference::Limits::resident_for`], so that a model that the scheduler counts on is still
/// there.
const KEEP_ALIVE: &str = "10m";
/// Who asks what nobody else has asked for, in the model server's log.
const OWN_AGENT: &str = concat!("bellwether/", env!("CARGO_PKG_VERSION"));
/// A generation of one token takes no longer on a server that works.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// From the last call of somebody else on.
const SHOWS_AFTER: Millis = Millis::from_secs(60);
const SHOWS_UNTIL: Millis = Millis::from_mins(4);
const READ_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct ModelServer {
    pub(super) id: ServerId,
    /// For requests of the gateway's own.
    pub(super) upstream: Upstream,
    breaker: Mutex<Breaker>,
    /// It is an Ollama: it loads what it is told to.
    native: OnceLock<bool>,
    /// The last time that somebody was served there, and that somebody else than the gateway was: in milliseconds, from 1.
    last_served: AtomicU64,
    last_called: AtomicU64,
    /// What it loaded last, and whether that embeds.
    loaded: Mutex<Option<(Runner, bool)>>,
    origin: Instant,
}

/// How a request of the gateway's own ended.
pub(super) enum Own {
    Done(Vec<u8>),
    /// What it said instead.
    Refused(hyper::StatusCode, String),
    Failed(String),
}

impl ModelServer {
    pub(super) fn new(id: ServerId, url: &str) -> Self {
        // One try decides, and it is the gateway's own.
        let settings = BreakerSettings {
            wait_duration_in_open_state: Millis::from_secs(2),
            permitted_number_of_calls_in_half_open_state: 1,
            ..BreakerSettings::default()
        };
        Self {
            id,
            upstream: Upstream::new(url),
            breaker: Mutex::new(Breaker::new(settings)),
            native: OnceLock::new(),
            last_served: AtomicU64::new(0),
            last_called: AtomicU64::new(0),
            loaded: Mutex::default(),
            origin: Instant::now(),
        }
    }

    /// To be ended by [`ModelServer::ended`]. None while it is open.
    pub(super) fn admit(&self) -> Option<Permitted> {
        self.breaker().admit(self.now()).ok()
    }

    /// True if that opened its breaker.
    pub(super) fn ended(&self, permitted: Permitted, end: CallEnd) -> bool {
        if end == CallEnd::Success {
            self.last_served.store(self.millis(), Ordering::Relaxed);
        }
        self.breaker().ended(self.now(), permitted, end)
    }

    pub(super) fn shown(&self, name: String) -> Shown {
        Shown::of(name, &self.breaker())
    }

    /// For how long it is not tried again; none if it is not open.
    pub(super) fn opens_in(&self) -> Option<Millis> {
        self.breaker().retry_after(self.now())
    }

    pub(super) fn called(&self) {
        self.last_called.store(self.millis(), Ordering::Relaxed);
    }

    /// Nobody was served for a while, and what it has loaded is sure to be there still.
    pub(super) fn is_to_show_itself(&self) -> bool {
        let now = self.millis();
        let since =
            |at: &AtomicU64| Some(at.load(Ordering::Relaxed)).filter(|&at| at > 0).map(|at| now.saturating_sub(at));
        let idle = since(&self.last_served).is_none_or(|idle| idle >= SHOWS_AFTER.0);
        idle && since(&self.last_called).is_some_and(|called| called < SHOWS_UNTIL.0)
    }

    /// Loads on a connection of the gateway's own, so that a caller who leaves cannot abort it. True if it is there.
    pub(super) async fn load(&self, runner: &Runner, embeds: bool, limit: Duration) -> bool {
        if !self.is_native().await {
            // It has what it was started with, or loads with the first call.
            return true;
        }
        let mut body = json!({"model": runner.model.as_str(), "keep_alive": KEEP_ALIVE});
        add_options(&mut body, runner, None);
        let path = if embeds {
            body["input"] = json!([]);
            "/api/embed"
        } else {
            body["stream"] = json!(false);
            "/api/generate"
        };
        let model = &runner.model;
        match self.own(Method::POST, path, &body.to_string(), limit).await {
            Own::Done(_) => {
                *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some((runner.clone(), embeds));
                return true;
            }
            Own::Refused(status, said) => {
                tracing::warn!(%model, %status, said, "the model server did not load a model");
            }
            Own::Failed(why) => tracing::warn!(%model, why, "the model server broke off while it loaded a model"),
        }
        false
    }

    /// Whether one token comes back. What is refused is an answer too: somebody is there to refuse it.
    pub(super) async fn generates(&self, runner: &Runner, embeds: bool) -> Result<(), String> {
        let model = runner.model.as_str();
        let (path, body) = if !self.is_native().await {
            let messages = json!([{"role": "user", "content": "ok"}]);
            ("/v1/chat/completions", json!({"model": model, "messages": messages, "max_tokens": 1}))
        } else if embeds {
            let mut body = json!({"model": model, "input": "ok"});
            add_options(&mut body, runner, None);
            ("/api/embed", body)
        } else {
            let mut body = json!({"model": model, "prompt": "ok", "stream": false});
            add_options(&mut body, runner, Some(1));
            ("/api/generate", body)
        };
        match self.own(Method::POST, path, &body.to_string(), PROBE_LIMIT).await {
            Own::Done(_) => Ok(()),
            Own::Refused(status, _) if status.is_client_error() => Ok(()),
            Own::Refused(status, said) => Err(format!("{status}: {said}")),
            Own::Failed(why) => Err(why),
        }
    }

    /// It answers, and generates with what it had loaded. `may_generate`: there is a slot for that.
    pub(super) async fn is_back(&self, may_generate: bool) -> bool {
        match self.read("/api/version").await {
            Own::Done(_) => {}
            Own::Refused(status, _) if status.is_client_error() => {}
            Own::Refused(..) | Own::Failed(_) => return false,
        }
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match loaded.filter(|_| may_generate) {
            Some((runner, embeds)) => self.generates(&runner, embeds).await.is_ok(),
            None => true,
        }
    }

    /// The answer to a question that needs no slot.
    pub(super) async fn read(&self, path: &str) -> Own {
        self.own(Method::GET, path, "", READ_LIMIT).await
    }

    async fn is_native(&self) -> bool {
        if let Some(&known) = self.native.get() {
            return known;
        }
        match self.read("/api/version").await {
            Own::Done(_) => *self.native.get_or_init(|| true),
            Own::Refused(status, _) if status.is_client_error() => *self.native.get_or_init(|| false),
            // Not known: it will say so when it can be reached.
            Own::Refused(..) | Own::Failed(_) => true,
        }
    }

    async fn own(&self, method: Method, path: &str, body: &str, limit: Duration) -> Own {
        let mut headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(OWN_AGENT))]);
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let outgoing =
            Outgoing { method: &method, path_and_query: path, headers: &headers, body: body.to_owned().into() };
        match timeout(limit, exchange::fetch(&self.upstream, &outgoing)).await {
            Ok(Ok(Fetched { status, body })) if status.is_success() => Own::Done(body.into()),
            Ok(Ok(Fetched { status, body })) => Own::Refused(status, String::from_utf8_lossy(&body).into_owned()),
            Ok(Err(why)) => Own::Failed(why),
            Err(_late) => Own::Failed(format!("it did not answer within {} s", limit.as_secs())),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn millis(&self) -> u64 {
        self.now().0 / 1_000_000 + 1
    }
}

fn add_options(body: &mut Value, runner: &Runner, predict: Option<u32>) {
    let mut options: Map<String, Value> = Map::new();
    for (name, value) in runner.options.0.iter() {
        if let Ok(value) = serde_json::from_str(value) {
            options.insert(name.clone(), value);
        }
    }
    if let Some(predict) = predict {
        options.insert("num_predict".to_owned(), json!(predict));
    }
    if !options.is_empty() {
        body["options"] = Value::Object(options);
    }
}
