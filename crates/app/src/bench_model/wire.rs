//! One kept connection to an endpoint. A caller who hangs up closes it, which is the one way to give up a call that HTTP/1
//! has.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::{
    answer::{Cause, Reader, Told, Trouble},
    endpoint::{Endpoint, Header},
    question::Api,
};

/// In microseconds since the Unix epoch.
const LEAVES_AT: HeaderName = HeaderName::from_static("x-leaves-at");

/// What one client calls, and says of itself.
#[derive(Clone)]
pub(super) struct Caller {
    places: Vec<SocketAddr>,
    answers: Uri,
    residents: Uri,
    headers: HeaderMap,
}

impl Caller {
    /// `None` where the name of the client makes no address of it.
    pub(super) fn new(
        endpoint: &Endpoint,
        places: &[SocketAddr],
        client: &str,
        api: Api,
        extra: &[Header],
    ) -> Option<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(&endpoint.authority()).ok()?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for header in extra {
            let (name, value) = header.of(client)?;
            headers.insert(name, value);
        }
        Some(Self {
            places: places.to_vec(),
            answers: endpoint.path(client, api.path()).parse().ok()?,
            residents: endpoint.path(client, "/api/ps").parse().ok()?,
            headers,
        })
    }

    fn request(&self, method: &Method, uri: &Uri, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        request.method_mut().clone_from(method);
        request.uri_mut().clone_from(uri);
        request.headers_mut().clone_from(&self.headers);
        request
    }
}

pub(super) struct Wire {
    caller: Caller,
    open: Option<Open>,
    /// When the caller hangs up, if it does so in any case.
    leaves: Option<HeaderValue>,
    /// Calls that met a kept connection which the server was closing.
    redialled: u64,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection, and closes it when it is dropped.
    _driver: AbortOnDropHandle<()>,
}

/// Of one answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) told: Told,
    /// When the first piece of its body was there.
    pub(super) first: Option<Instant>,
}

impl Wire {
    pub(super) fn new(caller: Caller) -> Self {
        Self { caller, open: None, leaves: None, redialled: 0 }
    }

    /// Told with every call from here on, for servers that count with it.
    pub(super) fn leaves_at(&mut self, at: SystemTime) {
        let micros = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        self.leaves = HeaderValue::from_str(&micros.to_string()).ok();
    }

    fn request(&self, method: &Method, uri: &Uri, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = self.caller.request(method, uri, body);
        if let Some(leaves) = &self.leaves {
            request.headers_mut().insert(LEAVES_AT, leaves.clone());
        }
        request
    }

    pub(super) fn hang_up(&mut self) {
        self.open = None;
    }

    /// Since it was last asked.
    pub(super) fn take_redialled(&mut self) -> u64 {
        std::mem::take(&mut self.redialled)
    }

    /// Asks, and reads the answer to its end. A connection on which that went wrong is not used again; neither is one whose
    /// caller dropped this and hung up.
    pub(super) async fn ask(&mut self, body: Bytes, reader: &mut Reader) -> Result<Answered, Trouble> {
        let done = self.exchange(body, reader).await;
        if let Err(Trouble { cause, .. }) = done
            && !matches!(cause, Cause::Status(_))
        {
            self.hang_up();
        }
        done
    }

    async fn exchange(&mut self, body: Bytes, reader: &mut Reader) -> Result<Answered, Trouble> {
        reader.begin();
        let response = self.send(Method::POST, self.caller.answers.clone(), body).await?;
        let (head, mut body) = response.into_parts();
        let mut first = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_broken| Cause::Broken)?;
            if let Some(piece) = frame.data_ref() {
                first.get_or_insert_with(Instant::now);
                reader.push(piece)?;
            }
        }
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match reader.verdict(head.status) {
            Ok(told) => Ok(Answered { told, first }),
            Err(cause) => Err(Trouble { cause, retry_after: retry_after.map(Duration::from_secs) }),
        }
    }

    /// Which models are in memory, where the endpoint tells it.
    pub(super) async fn residents(&mut self) -> Option<Bytes> {
        let told = async {
            let response = self.send(Method::GET, self.caller.residents.clone(), Bytes::new()).await.ok()?;
            let whole = response.status().is_success();
            let body = http_body_util::Limited::new(response.into_body(), 1 << 20).collect().await.ok()?;
            whole.then(|| body.to_bytes())
        }
        .await;
        if told.is_none() {
            self.hang_up();
        }
        told
    }

    /// A server may close a kept connection at any time, also while a call is on its way to it. As every client library
    /// does in some way, the call is then made once more, on a new connection.
    async fn send(&mut self, method: Method, uri: Uri, body: Bytes) -> Result<Response<Incoming>, Cause> {
        let request = self.request(&method, &uri, &body);
        if let Some(open) = &mut self.open
            && open.sender.ready().await.is_ok()
        {
            match open.sender.send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    tracing::debug!(%error, "a kept connection was closed");
                    self.redialled += 1;
                }
            }
        }
        self.hang_up();
        let mut open = self.dial().await?;
        let request = self.request(&method, &uri, &body);
        let response = open.sender.send_request(request).await.map_err(|error| {
            tracing::debug!(%error, "a call failed");
            Cause::Broken
        })?;
        self.open = Some(open);
        Ok(response)
    }

    async fn dial(&self) -> Result<Open, Cause> {
        let connect = |error: &dyn std::fmt::Display| {
            tracing::debug!(%error, "no connection");
            Cause::Connect
        };
        let stream = TcpStream::connect(&self.caller.places[..]).await.map_err(|error| connect(&error))?;
        stream.set_nodelay(true).map_err(|error| connect(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| connect(&error))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
        Ok(Open { sender, _driver: AbortOnDropHandle::new(driver) })
    }
}
