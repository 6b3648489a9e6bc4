//! The client's side of the gateway's task API.

use std::{error::Error as _, fmt, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderValue},
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

const SUBMIT_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than a server's, so that a request seldom meets a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const IDLE_CONNECTIONS: usize = 64;
const ANSWER_MAX: usize = 16 << 20;
const PAGE_MAX: usize = 1000;

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the address of a gateway")]
pub(crate) struct BadGateway(String);

/// Why a request failed, in words that can be counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    Connect,
    Broken,
    TimedOut,
    Status(u16),
    /// A 2xx whose body is not what the API promises.
    Malformed,
    /// Never sent: as many submissions as allowed were still without an answer.
    TooManyInFlight,
}

impl Refusal {
    /// Whether the gateway took the task is not known.
    pub(super) const fn is_no_answer(&self) -> bool {
        match self {
            Self::Connect | Self::Broken | Self::TimedOut => true,
            Self::Status(_) | Self::Malformed | Self::TooManyInFlight => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("could not connect"),
            Self::Broken => f.write_str("connection broke"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Malformed => f.write_str("answer not understood"),
            Self::TooManyInFlight => f.write_str("too many submissions without an answer"),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) completions: Vec<Completion>,
    pub(crate) next: u64,
}

/// One accepted completion.
#[derive(Debug, Deserialize)]
pub(crate) struct Completion {
    pub(crate) id: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) attempt: u64,
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

pub(crate) struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    base: String,
}

impl Client {
    pub(crate) fn new(gateway: &str) -> Result<Self, BadGateway> {
        let base = gateway.trim_end_matches('/').to_owned();
        let uri: Option<Uri> = base.parse().ok();
        if !uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty())) {
            return Err(BadGateway(gateway.to_owned()));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            // A repeat by the library would hide a request that failed.
            .retry_canceled_requests(false)
            .build(connector);
        Ok(Self { http, base })
    }

    /// Submits a task under an id of the client's choice.
    pub(crate) async fn submit(&self, id: &str, task: &Value) -> Result<(), Refusal> {
        let url = format!("{}/tasks", self.base);
        let body = self.ask(Method::POST, url, task.to_string().into(), SUBMIT_TIMEOUT).await?;
        let accepted: Accepted = serde_json::from_slice(&body).map_err(|_unknown| Refusal::Malformed)?;
        if accepted.id == id { Ok(()) } else { Err(Refusal::Malformed) }
    }

    /// Completions after a number; waits for the first if there is none.
    pub(crate) async fn completions(&self, after: u64, wait: Duration) -> Result<Page, Refusal> {
        let wait_ms = wait.as_millis();
        let url = format!("{}/completions?after={after}&wait_ms={wait_ms}&limit={PAGE_MAX}", self.base);
        let body = self.ask(Method::GET, url, Bytes::new(), wait + SUBMIT_TIMEOUT).await?;
        serde_json::from_slice(&body).map_err(|_unknown| Refusal::Malformed)
    }

    async fn ask(&self, method: Method, url: String, body: Bytes, limit: Duration) -> Result<Bytes, Refusal> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.parse().map_err(|_invalid| Refusal::Connect)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = async {
            let response = self.http.request(request).await.map_err(|error| {
                tracing::debug!(%error, cause = ?error.source(), "request failed");
                if error.is_connect() { Refusal::Connect } else { Refusal::Broken }
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|_broken| Refusal::Broken)?.to_bytes();
            match status {
                StatusCode::OK | StatusCode::ACCEPTED => Ok(body),
                status => Err(Refusal::Status(status.as_u16())),
            }
        };
        timeout(limit, answer).await.unwrap_or(Err(Refusal::TimedOut))
    }
}
