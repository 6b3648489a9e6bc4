//! The HTTP client behind a type of our own: bounded idle connections, and errors that say whether anything
//! can have happened on the other side.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;

const ANSWER_MAX: usize = 16 << 20;
/// What hyper may buffer per connection; a fleet has hundreds.
const BUFFER_MAX: usize = 64 << 10;
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("the address cannot be used: {0}")]
    Address(#[from] hyper::http::Error),
    #[error("could not connect: {0}")]
    Connect(String),
    /// The request may or may not have been carried out.
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

impl HttpError {
    /// No answer began, so that asking again may help.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Broken(_) | Self::TimedOut(_) => true,
            Self::Address(_) => false,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Http {
    pub(crate) fn new(idle_max: usize, connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect_timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(idle_max)
            .http1_max_buf_size(BUFFER_MAX)
            .build(connector);
        Self { client }
    }

    /// Asks and reads the whole answer within the limit.
    pub(crate) async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        let answer = async {
            let response = self.send(method, url, headers, body).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|error| HttpError::Broken(error.to_string()))?.to_bytes();
            Ok(Answer { status, body })
        };
        timeout(limit, answer).await.unwrap_or(Err(HttpError::TimedOut(limit)))
    }

    /// Asks and returns when the head of the answer is there.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, HttpError> {
        let mut request = Request::builder().method(method).uri(url).body(Full::from(body))?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(ACCEPT, JSON);
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        self.client.request(request).await.map_err(|error| {
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            if error.is_connect() { HttpError::Connect(cause) } else { HttpError::Broken(cause) }
        })
    }
}
