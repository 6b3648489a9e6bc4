//! A request that was not begun here, passed on to the gateway that accepts.
//!
//! It goes to the very address that its client called, so that an instance is known by it there too, and its answer
//! comes back byte for byte.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode, Version,
    body::Body as HttpBody,
    client::conn::http1,
    header::{CONNECTION, HeaderValue},
    http::request::Parts,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::gate::{Standing, Visit};
use crate::{
    body::{self, BoxError, Response},
    door::Door,
    hop,
    problem::problem,
    server::Place,
    tunnel,
};

/// A client that wants to switch protocols.
struct Upgrade {
    client: OnUpgrade,
    protocol: HeaderValue,
    _place: Option<Place>,
}

impl Visit {
    /// A request of which the body was read already.
    pub(crate) async fn pass_on(&self, head: Parts, bytes: Bytes) -> Response {
        self.passage.set_elsewhere(true);
        on(&self.tracker, self.called, Request::from_parts(head, Full::new(bytes))).await
    }

    /// A pushed request that was readied for an instance, with the client's end of an upgrade.
    pub(crate) async fn pass_on_push(
        &self,
        (mut request, upgrade): (body::Request, Option<(OnUpgrade, Option<Place>)>),
    ) -> Response {
        self.passage.set_elsewhere(true);
        match upgrade {
            Some((client, place)) => forward(&self.tracker, self.called, request, client, place).await,
            None => {
                let client = hyper::upgrade::on(&mut request);
                forward(&self.tracker, self.called, request, client, None).await
            }
        }
    }

    pub(crate) async fn pass_on_whole(&self, request: Request<Full<Bytes>>) -> Response {
        self.passage.set_elsewhere(true);
        on(&self.tracker, self.called, request).await
    }
}

/// Passes it on, whoever asks.
pub(crate) async fn on<B>(tracker: &TaskTracker, to: SocketAddr, mut request: Request<B>) -> Response
where
    B: HttpBody + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let client = hyper::upgrade::on(&mut request);
    let place = request.extensions_mut().remove();
    forward(tracker, to, request, client, place).await
}

async fn forward<B>(
    tracker: &TaskTracker,
    to: SocketAddr,
    mut request: Request<B>,
    client: OnUpgrade,
    place: Option<Place>,
) -> Response
where
    B: HttpBody + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let upgrade = prepare(&mut request).map(|protocol| Upgrade { client, protocol, _place: place });
    match send(tracker, to, request).await {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => open_tunnel(tracker, response, upgrade),
        Ok(response) => {
            let (mut head, incoming) = response.into_parts();
            hop::strip(&mut head.headers);
            head.version = Version::HTTP_11;
            Response::from_parts(head, incoming.map_err(Into::into).boxed_unsync())
        }
        Err(error) => {
            tracing::warn!(error, "a request could not be passed on");
            problem(StatusCode::BAD_GATEWAY, "the gateway that took over broke off")
        }
    }
}

/// The protocol that the client wants to switch to, if it does.
fn prepare<B>(request: &mut Request<B>) -> Option<HeaderValue> {
    let protocol = hop::strip(request.headers_mut());
    if let Some(protocol) = &protocol {
        hop::put_upgrade(request.headers_mut(), protocol.clone());
    }
    *request.version_mut() = Version::HTTP_11;
    request.extensions_mut().clear();
    protocol
}

async fn send<B>(
    tracker: &TaskTracker,
    to: SocketAddr,
    request: Request<B>,
) -> Result<hyper::Response<hyper::body::Incoming>, BoxError>
where
    B: HttpBody + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tracker.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a passed-on connection ended");
        }
    });
    Ok(sender.send_request(request).await?)
}

fn open_tunnel(
    tracker: &TaskTracker,
    mut response: hyper::Response<hyper::body::Incoming>,
    upgrade: Option<Upgrade>,
) -> Response {
    let Some(upgrade) = upgrade else {
        return problem(StatusCode::BAD_GATEWAY, "the gateway that took over switched protocols unasked");
    };
    let theirs = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    let protocol = hop::strip(&mut head.headers).unwrap_or_else(|| upgrade.protocol.clone());
    hop::put_upgrade(&mut head.headers, protocol);
    tracker.spawn(async move {
        let Upgrade { client, _place, .. } = upgrade;
        tunnel::run(client, theirs, CancellationToken::new()).await;
    });
    Response::from_parts(head, body::empty())
}

/// Says on what is answered here that the next request has to come on another connection. One that switched protocols
/// has no next request.
pub(crate) fn part(door: &Arc<Door>, response: &mut Response) {
    if door.gate.standing() != Standing::Open && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
