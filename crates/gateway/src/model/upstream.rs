//! Connections to the model server.
//!
//! They live on the runtime thread that made them. An idle connection is dropped before the peer is likely to drop it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Uri,
    header::{HeaderMap, HeaderValue},
};

use super::inbound::NOT_FORWARDED;
use crate::wire::{self, Asked, Connection, Exchange};

const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// Go's and other servers' shortest usual idle limits are longer.
const IDLE_LIMIT: Duration = Duration::from_secs(15);
/// Per runtime thread: as many as slots commonly are, because answers end in bursts.
const IDLE_MAX: usize = 128;

pub(super) struct Upstream {
    target: Result<Target, String>,
    idle: Mutex<Vec<Idle>>,
}

pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// What `Host` says.
    pub(super) header: HeaderValue,
    /// Path in front of the API's own, without a slash at its end.
    pub(super) prefix: String,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// What is sent; it can be sent again.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    pub(super) path_and_query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the model server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the model server broke off before it answered")]
    Exchange(#[source] wire::Broken),
    #[error("nothing came from the model server for too long")]
    Stalled,
}

impl Upstream {
    /// A URL that cannot be used makes every connection fail with that reason.
    pub(super) fn new(url: &str) -> Self {
        let target = Target::parse(url);
        if let Err(reason) = &target {
            tracing::error!(url, reason, "the model server's URL cannot be used");
        }
        Self { target, idle: Mutex::default() }
    }

    /// A connection that is ready, from the idle ones if `fresh` is not asked for.
    pub(super) async fn connect(&self, fresh: bool) -> Result<Connection, Broken> {
        if !fresh && let Some(connection) = self.take_idle() {
            return Ok(connection);
        }
        let target = self.target.as_ref().map_err(|reason| Broken::Unreachable(reason.clone()))?;
        let dialled = Connection::dial((target.host.as_str(), target.port), DIAL_LIMIT).await;
        dialled.map_err(|error| Broken::Unreachable(error.to_string()))
    }

    /// Keeps a connection whose answer has been read to its end for the next call.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    pub(super) fn drop_stale(&self) {
        self.lock().retain(|idle| idle.since.elapsed() < IDLE_LIMIT && idle.connection.is_idle());
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.lock();
        // What cannot be used is not looked at again.
        std::iter::from_fn(|| idle.pop())
            .find(|idle| idle.since.elapsed() < IDLE_LIMIT && idle.connection.is_idle())
            .map(|idle| idle.connection)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn exchange(
        &self,
        connection: Connection,
        outgoing: &Outgoing<'_>,
    ) -> Result<Exchange<Full<Bytes>>, Broken> {
        let target = self.target.as_ref().map_err(|reason| Broken::Unreachable(reason.clone()))?;
        let &Outgoing { method, path_and_query, headers, ref body } = outgoing;
        let (prefix, without, host) = (&target.prefix, &NOT_FORWARDED, Some(&target.header));
        let asked = Asked { method, prefix, path_and_query, headers, without, host };
        Exchange::new(connection, asked, Full::new(body.clone())).map_err(|(error, _)| Broken::Exchange(error))
    }
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url} is not a URL: {error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("{url} does not begin with http://"));
        }
        let authority = uri.authority().ok_or_else(|| format!("{url} names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(80);
        let header = format!("{}:{port}", authority.host());
        let header = HeaderValue::try_from(header).map_err(|error| format!("{url}: {error}"))?;
        Ok(Self { host, port, header, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_or_refused_with_its_reason() {
        let target = Target::parse("http://localhost:11434/").unwrap();
        assert_eq!((target.host.as_str(), target.port, target.prefix.as_str()), ("localhost", 11434, ""));
        assert_eq!(target.header, "localhost:11434");
        assert_eq!(Target::parse("http://[::1]:1/under/").unwrap().prefix, "/under");
        assert!(Target::parse("https://models").is_err());
        assert!(Target::parse("not a url").is_err());
    }
}
