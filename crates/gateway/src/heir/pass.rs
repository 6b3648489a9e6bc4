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
    header::{CONNECTION, HeaderValue},
    http::{request::Parts, response, uri::PathAndQuery},
    upgrade::OnUpgrade,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::gate::{Standing, Visit};
use crate::{
    body::{self, BoxError, Response},
    door::Door,
    hop, limits,
    problem::problem,
    server::Place,
    tunnel,
    wire::{Asked, Broken, Connection, Exchange},
};

/// A client that wants to switch protocols.
struct Upgrade {
    client: OnUpgrade,
    protocol: HeaderValue,
    _place: Place,
}

impl Visit {
    /// A request of which the body was read already.
    pub(crate) async fn pass_on(&self, head: Parts, bytes: Bytes) -> Response {
        self.pass_on_whole(Request::from_parts(head, Full::new(bytes))).await
    }

    /// A pushed request that was readied for an instance, with the client's end of an upgrade.
    pub(crate) async fn pass_on_push(&self, (mut request, upgrade): (body::Request, Option<OnUpgrade>)) -> Response {
        self.passage.set_elsewhere(true);
        let client = upgrade.unwrap_or_else(|| hyper::upgrade::on(&mut request));
        forward(&self.tracker, self.called, request, client, self.place.clone()).await
    }

    pub(crate) async fn pass_on_whole(&self, request: Request<Full<Bytes>>) -> Response {
        self.passage.set_elsewhere(true);
        on(&self.tracker, self.called, request, self.place.clone()).await
    }
}

/// Passes it on, whoever asks.
pub(crate) async fn on<B>(tracker: &TaskTracker, to: SocketAddr, mut request: Request<B>, place: Place) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let client = hyper::upgrade::on(&mut request);
    forward(tracker, to, request, client, place).await
}

async fn forward<B>(
    tracker: &TaskTracker,
    to: SocketAddr,
    mut request: Request<B>,
    client: OnUpgrade,
    place: Place,
) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let upgrade = prepare(&mut request).map(|protocol| Upgrade { client, protocol, _place: place });
    match send(to, request).await {
        Ok((head, answer)) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
            open_tunnel(tracker, head, answer, upgrade)
        }
        Ok((mut head, answer)) => {
            hop::strip(&mut head.headers);
            Response::from_parts(head, answer.map_err(Into::into).boxed_unsync())
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
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

async fn send<B>(to: SocketAddr, request: Request<B>) -> Result<(response::Parts, Exchange<B>), Broken>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let connection = Connection::dial(to, limits::CONNECT_TIMEOUT).await?;
    let (head, body) = request.into_parts();
    let path_and_query = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let asked =
        Asked { method: &head.method, prefix: "", path_and_query, headers: &head.headers, without: &[], host: None };
    let mut exchange = Exchange::new(connection, asked, body).map_err(|(broken, _)| broken)?;
    Ok((exchange.head().await?, exchange))
}

fn open_tunnel<B>(
    tracker: &TaskTracker,
    mut head: response::Parts,
    answer: Exchange<B>,
    upgrade: Option<Upgrade>,
) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    let (Some(upgrade), Some(theirs)) = (upgrade, answer.into_switched()) else {
        return problem(StatusCode::BAD_GATEWAY, "the gateway that took over switched protocols unasked");
    };
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
