//! The HTTP client: one server, bounded connections, and errors that say whether anything can have happened on the
//! other side.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue},
};
use tokio::time::timeout;

use crate::{
    base::Base,
    connections::{Bounds, Connections, Counts, Lease},
};

const ANSWER_MAX: usize = 16 << 20;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("the address cannot be used: {0}")]
    Address(#[from] hyper::http::Error),
    #[error("no connection became free within {0:?}")]
    Exhausted(Duration),
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
            Self::Exhausted(_) | Self::Connect(_) | Self::Broken(_) | Self::TimedOut(_) => true,
            Self::Address(_) => false,
        }
    }
}

pub(crate) struct Http {
    connections: Connections,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Http {
    pub(crate) fn new(base: Base, bounds: Bounds) -> Self {
        Self { connections: Connections::new(base, bounds) }
    }

    /// Asks and reads the whole answer within the limit. `path` is below the server's prefix.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        let answer = async {
            let lease = self.acquire().await?;
            let (response, lease) = self.send(lease, method, path, headers, body.into()).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body = body.map_err(|error| {
                lease.broke();
                HttpError::Broken(error.to_string())
            })?;
            lease.keep();
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        timeout(limit, answer).await.unwrap_or(Err(HttpError::TimedOut(limit)))
    }

    pub(crate) async fn acquire(&self) -> Result<Lease, HttpError> {
        self.connections.acquire().await
    }

    /// Asks and returns when the head of the answer is there. The lease is to be kept once the body was read.
    pub(crate) async fn send(
        &self,
        mut lease: Lease,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(Response<Incoming>, Lease), HttpError> {
        let request = self.request(&method, path, headers.clone(), body.clone())?;
        match lease.send(request).await {
            Ok(response) => Ok((response, lease)),
            // The other side closed an idle connection while this was written to it.
            Err(HttpError::Broken(_)) if lease.is_reused() => {
                self.connections.replace(&mut lease).await?;
                let response = lease.send(self.request(&method, path, headers, body)?).await?;
                Ok((response, lease))
            }
            Err(error) => Err(error),
        }
    }

    /// Whoever asks has to wait for a connection.
    pub(crate) fn is_busy(&self) -> bool {
        self.connections.are_all_busy()
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, HttpError> {
        let base = self.connections.base();
        let mut request = Request::builder()
            .method(method)
            .uri(base.join(path))
            .header(HOST, base.authority())
            .header(ACCEPT, JSON)
            .header(CONTENT_TYPE, JSON)
            .body(Full::from(body))?;
        request.headers_mut().extend(headers);
        Ok(request)
    }

    pub(crate) fn counts(&self) -> Counts {
        self.connections.counts()
    }

    pub(crate) fn reap(&self) {
        self.connections.reap(Instant::now());
    }
}
