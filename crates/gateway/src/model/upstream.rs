//! Connections to the model server.
//!
//! They live on the model's own thread, which drives them. An idle connection is dropped before the peer is
//! likely to drop it; one that is given up in the middle of a call counts as closed only when the peer has
//! closed its side too, because until then it may still be computing.

use std::{
    cell::RefCell,
    net::{Shutdown, TcpStream as StdStream},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Uri,
    body::Incoming,
    client::conn::http1,
    header::{HOST, HeaderMap, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinHandle, time::timeout};

const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// Go's and other servers' shortest usual idle limits are longer.
const IDLE_LIMIT: Duration = Duration::from_secs(15);
const IDLE_MAX: usize = 32;
/// How long a connection may take to be ready for its next request after an answer has ended.
const READY_LIMIT: Duration = Duration::from_millis(100);
/// How long the peer may take to close its side of a connection that was given up.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

pub(super) struct Upstream {
    target: Result<Target, String>,
    idle: RefCell<Vec<Idle>>,
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
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) path_and_query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the model server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the model server broke off before it answered")]
    Exchange(#[source] hyper::Error),
}

pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    /// The same socket, so that its end can be seen after the driver was stopped.
    socket: StdStream,
    reused: bool,
}

impl Upstream {
    /// A URL that cannot be used makes every connection fail with that reason.
    pub(super) fn new(url: &str) -> Self {
        let target = Target::parse(url);
        if let Err(reason) = &target {
            tracing::error!(url, reason, "the model server's URL cannot be used");
        }
        Self { target, idle: RefCell::new(Vec::new()) }
    }

    /// A connection that is ready, from the idle ones if `fresh` is not asked for.
    pub(super) async fn connect(&self, fresh: bool) -> Result<Connection, Broken> {
        if !fresh && let Some(connection) = self.take_idle() {
            return Ok(connection);
        }
        let target = self.target.as_ref().map_err(|reason| Broken::Unreachable(reason.clone()))?;
        let unreachable = |error: &dyn std::fmt::Display| Broken::Unreachable(error.to_string());
        let dial = TcpStream::connect((target.host.as_str(), target.port));
        let stream = match timeout(DIAL_LIMIT, dial).await {
            Ok(dialled) => dialled.map_err(|error| unreachable(&error))?,
            Err(late) => return Err(unreachable(&late)),
        };
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let socket = stream.as_fd().try_clone_to_owned().map_err(|error| unreachable(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        let driver = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the model server ended");
            }
        });
        Ok(Connection { sender, driver, socket: StdStream::from(socket), reused: false })
    }

    /// Keeps a connection whose answer has been read to its end for the next call.
    pub(super) async fn keep(&self, mut connection: Connection) {
        if let Ok(Ok(())) = timeout(READY_LIMIT, connection.sender.ready()).await {
            connection.reused = true;
            let mut idle = self.idle.borrow_mut();
            if idle.len() < IDLE_MAX {
                idle.push(Idle { connection, since: Instant::now() });
            }
        }
    }

    pub(super) fn drop_stale(&self) {
        self.idle.borrow_mut().retain(|idle| idle.since.elapsed() < IDLE_LIMIT && idle.connection.is_usable());
    }

    fn take_idle(&self) -> Option<Connection> {
        self.drop_stale();
        self.idle.borrow_mut().pop().map(|idle| idle.connection)
    }

    fn request(&self, outgoing: &Outgoing) -> Result<hyper::Request<Full<Bytes>>, Broken> {
        let target = self.target.as_ref().map_err(|reason| Broken::Unreachable(reason.clone()))?;
        let mut request = hyper::Request::new(Full::new(outgoing.body.clone()));
        *request.method_mut() = outgoing.method.clone();
        let path = format!("{}{}", target.prefix, outgoing.path_and_query);
        *request.uri_mut() =
            path.parse().map_err(|error| Broken::Unreachable(format!("{path} is not a path: {error}")))?;
        *request.headers_mut() = outgoing.headers.clone();
        request.headers_mut().insert(HOST, target.header.clone());
        Ok(request)
    }
}

impl Connection {
    /// Sends and waits for the head of the answer. The connection must be [closed](Self::close) if the caller
    /// stops waiting.
    pub(super) async fn exchange(
        &mut self,
        upstream: &Upstream,
        outgoing: &Outgoing,
    ) -> Result<hyper::Response<Incoming>, Broken> {
        self.sender.send_request(upstream.request(outgoing)?).await.map_err(Broken::Exchange)
    }

    /// The peer may have closed it while it was idle, without having seen the request.
    pub(super) fn may_be_stale(&self) -> bool {
        self.reused
    }

    /// Gives the connection up and waits until the peer has closed it too. False if it did not in time.
    pub(super) async fn close(self) -> bool {
        self.driver.abort();
        // Aborted or ended before: in both cases the driver's end of the socket is gone.
        self.driver.await.ok();
        if self.socket.shutdown(Shutdown::Write).is_err() {
            return true;
        }
        let Ok(mut stream) = TcpStream::from_std(self.socket) else { return true };
        let drained = async {
            let mut buffer = [0; 4096];
            while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
        };
        timeout(CLOSE_LIMIT, drained).await.is_ok()
    }

    fn is_usable(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed()
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
