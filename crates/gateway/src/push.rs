//! `/a/{agent}/…`: a request is passed to the agent's active instance, whoever that is at the moment.
//!
//! The request waits, for a bounded time, where no instance is ready; it fails only if none becomes so. It is sent
//! once: again only where it provably never reached the instance.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use bellwether_core::traffic::Outcome;
use http_body_util::BodyExt;
use hyper::{
    StatusCode, Uri, Version,
    body::Incoming,
    header::{HOST, HeaderValue},
    http::{response::Parts, uri::PathAndQuery},
    upgrade::OnUpgrade,
};
use tokio::{
    sync::{SemaphorePermit, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    board::Board,
    body::{self, Request, Response},
    clock::micros,
    door::Door,
    guard::{Ended, Guarded},
    heir::gate::Visit,
    hop, limits,
    problem::{problem, retry_later},
    server::Place,
    table::Found,
    target::{Claim, Target},
    tunnel,
    wire::{Asked, Exchange},
};

pub(crate) async fn push(door: &Arc<Door>, agent: &str, rest: PathAndQuery, request: Request) -> Response {
    let began = Instant::now();
    let visit = Visit::of(&request);
    let under_way = UnderWay::begin(&door.board);
    let mut request = Prepared::of(request, rest);
    let mut waiting: Option<Waiting<'_>> = None;
    loop {
        // An instance is claimed by who is inside, or not here.
        if let Some(visit) = visit.as_deref().filter(|_| waiting.is_some())
            && !visit.step_in().await
        {
            return Box::pin(visit.pass_on_push(request.undone())).await;
        }
        // Noted before the look, so that a table that comes after it wakes us.
        if let Some(waiting) = &mut waiting {
            waiting.changed.borrow_and_update();
        }
        let found = door.board.table.load().find(agent);
        let unreachable = match found {
            Found::UnknownAgent => return problem(StatusCode::NOT_FOUND, "the fleet has no agent of this name"),
            Found::NoServer => return problem(StatusCode::NOT_FOUND, "this agent takes no pushed requests"),
            Found::NotReady => false,
            Found::Claimed(claim) => {
                visit.as_deref().inspect(|visit| visit.step_out());
                match forward(door, claim, &under_way, request, began).await {
                    Forwarded::Answered(response) => return response,
                    Forwarded::Unreached(back) => {
                        request = *back;
                        true
                    }
                }
            }
        };
        visit.as_deref().inspect(|visit| visit.step_out());
        match &mut waiting {
            None => match door.push_waiters.try_acquire() {
                Ok(permit) => waiting = Some(Waiting { changed: door.board.changed.subscribe(), _permit: permit }),
                Err(_full) => return refuse(door, agent, unreachable, "too many requests wait for an instance"),
            },
            Some(waiting) => {
                let deadline = began + limits::PUSH_WAIT;
                if Instant::now() >= deadline {
                    return refuse(door, agent, unreachable, "no instance became ready in time");
                }
                let look = waiting.for_another_look(deadline, unreachable);
                match visit.as_deref() {
                    Some(visit) => tokio::select! {
                        () = look => {}
                        () = visit.is_parting() => {}
                    },
                    None => look.await,
                }
            }
        }
    }
}

/// Counted from its arrival to the last byte of its answer.
struct UnderWay(Arc<Board>);

impl UnderWay {
    fn begin(board: &Arc<Board>) -> Arc<Self> {
        board.pushes_open.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self(board.clone()))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.pushes_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among those who wait for an instance to be ready.
struct Waiting<'a> {
    changed: watch::Receiver<u64>,
    _permit: SemaphorePermit<'a>,
}

impl Waiting<'_> {
    async fn for_another_look(&mut self, deadline: Instant, unreachable: bool) {
        let look_again = if unreachable { deadline.min(Instant::now() + limits::PUSH_RETRY) } else { deadline };
        tokio::select! {
            changed = self.changed.changed() => if changed.is_err() {
                // The writer is gone, so the gateway stops; what is left of the wait is short.
                sleep_until(look_again).await;
            },
            () = sleep_until(look_again) => {}
        }
    }
}

/// A request as it will be sent, less what depends on the instance.
struct Prepared {
    request: Request,
    upgrade: Option<Upgrade>,
    /// As the client asked for it.
    whole: Box<Uri>,
}

/// A client that wants to switch protocols.
struct Upgrade {
    client: OnUpgrade,
    protocol: HeaderValue,
    /// The connection's place under the bound, kept for as long as the tunnel.
    place: Option<Place>,
}

impl Prepared {
    fn of(mut request: Request, rest: PathAndQuery) -> Self {
        let client = hyper::upgrade::on(&mut request);
        let place = Visit::of(&request).map(|visit| visit.place.clone());
        let protocol = hop::strip(request.headers_mut());
        if let Some(protocol) = &protocol {
            hop::put_upgrade(request.headers_mut(), protocol.clone());
        }
        let whole = Box::new(std::mem::replace(request.uri_mut(), rest.into()));
        *request.version_mut() = Version::HTTP_11;
        Self { request, upgrade: protocol.map(|protocol| Upgrade { client, protocol, place }), whole }
    }

    /// As it came, for another gateway.
    fn undone(self) -> (Request, Option<OnUpgrade>) {
        let Self { mut request, upgrade, whole } = self;
        *request.uri_mut() = *whole;
        (request, upgrade.map(|Upgrade { client, .. }| client))
    }
}

enum Forwarded {
    Answered(Response),
    /// Not a byte of it reached the instance.
    Unreached(Box<Prepared>),
}

async fn forward(
    door: &Arc<Door>,
    claim: Claim,
    under_way: &Arc<UnderWay>,
    prepared: Prepared,
    began: Instant,
) -> Forwarded {
    let target = claim.target().clone();
    let Some(upstream) = target.card.upstream else { return Forwarded::Unreached(Box::new(prepared)) };
    let cut = target.cut_token();
    let Prepared { mut request, upgrade, whole } = prepared;
    if !request.headers().contains_key(HOST)
        && let Ok(host) = HeaderValue::try_from(upstream.to_string())
    {
        request.headers_mut().insert(HOST, host);
    }
    let sent = tokio::select! {
        sent = send(door, &target, upstream, request) => sent,
        () = cut.cancelled() => Err(Unsent::Cut),
    };
    let (head, answer) = match sent {
        Ok(both) => both,
        Err(Unsent::Unreached(request)) => {
            return Forwarded::Unreached(Box::new(Prepared { request: *request, upgrade, whole }));
        }
        Err(Unsent::Cut) => {
            count(door, &target, Ended::Cut, StatusCode::BAD_GATEWAY, began);
            return Forwarded::Answered(problem(StatusCode::BAD_GATEWAY, "cut at the drain limit"));
        }
        Err(Unsent::Broken) => {
            count(door, &target, Ended::Broken, StatusCode::BAD_GATEWAY, began);
            return Forwarded::Answered(problem(StatusCode::BAD_GATEWAY, "the instance broke off before it answered"));
        }
    };
    Forwarded::Answered(if head.status == StatusCode::SWITCHING_PROTOCOLS {
        open_tunnel(door, (claim, under_way.clone()), (head, answer), upgrade, (cut, began))
    } else {
        relay(door, (claim, under_way.clone()), (head, answer), (cut, began))
    })
}

enum Unsent {
    Unreached(Box<Request>),
    Broken,
    Cut,
}

async fn send(
    door: &Door,
    target: &Target,
    upstream: SocketAddr,
    request: Request,
) -> Result<(Parts, Exchange<Incoming>), Unsent> {
    let instance = target.card.instance;
    let (head, mut body) = request.into_parts();
    let path_and_query = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let asked =
        Asked { method: &head.method, prefix: "", path_and_query, headers: &head.headers, without: &[], host: None };
    loop {
        let connection = match door.pool.take(instance) {
            Some(connection) => connection,
            None => match door.pool.connect(upstream).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(%error, %instance, "cannot connect");
                    return Err(Unsent::Unreached(Box::new(Request::from_parts(head, body))));
                }
            },
        };
        let is_fresh = !connection.is_used();
        let (error, unsent) = match Exchange::new(connection, asked, body) {
            Ok(mut exchange) => match exchange.head().await {
                Ok(answer) => return Ok((answer, exchange)),
                Err(error) => (error, exchange.unsent()),
            },
            Err((error, _)) => (error, None),
        };
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, %instance, "no answer");
        match unsent {
            Some(back) if is_fresh => return Err(Unsent::Unreached(Box::new(Request::from_parts(head, back)))),
            Some(back) => body = back,
            None => return Err(Unsent::Broken),
        }
    }
}

/// The answer, with the claim held to its last byte. `cut` is that of the request: a later one would miss a cut that came
/// with the head of the answer.
fn relay(
    door: &Arc<Door>,
    (claim, under_way): (Claim, Arc<UnderWay>),
    (mut head, answer): (Parts, Exchange<Incoming>),
    (cut, began): (CancellationToken, Instant),
) -> Response {
    let peer_keeps = hop::kept_idle_secs(&head.headers).map(std::time::Duration::from_secs);
    hop::strip(&mut head.headers);
    let (door, status) = (door.clone(), head.status);
    let end = move |how, answer: &mut Exchange<Incoming>| {
        let target = claim.target();
        if let Some(connection) = answer.release() {
            door.pool.put(target, connection, peer_keeps);
        }
        count(&door, target, how, status, began);
        drop((claim, under_way));
    };
    Response::from_parts(head, Guarded::new(answer, cut, end).boxed_unsync())
}

fn open_tunnel(
    door: &Arc<Door>,
    (claim, under_way): (Claim, Arc<UnderWay>),
    (mut head, answer): (Parts, Exchange<Incoming>),
    upgrade: Option<Upgrade>,
    (cut, began): (CancellationToken, Instant),
) -> Response {
    let (Some(Upgrade { client, protocol: asked, place }), Some(upstream)) = (upgrade, answer.into_switched()) else {
        count(door, claim.target(), Ended::Broken, StatusCode::BAD_GATEWAY, began);
        return problem(StatusCode::BAD_GATEWAY, "the instance switched protocols unasked");
    };
    let protocol = hop::strip(&mut head.headers).unwrap_or(asked);
    hop::put_upgrade(&mut head.headers, protocol);
    let tunnel = door.clone();
    door.tunnels.spawn(async move {
        let target = claim.target();
        let ended = tunnel::run(client, upstream, cut).await;
        count(&tunnel, target, ended, StatusCode::SWITCHING_PROTOCOLS, began);
        drop((claim, place, under_way));
    });
    Response::from_parts(head, body::empty())
}

/// A client that leaves after the answer began has had its answer; how long the rest would have taken is unknown.
fn count(door: &Door, target: &Target, how: Ended, status: StatusCode, began: Instant) {
    if how == Ended::Cut {
        target.count_revoked();
    }
    let failed = how == Ended::Cut || how == Ended::Broken || status.is_server_error();
    let outcome = match how {
        // What was cut at the drain limit is nobody's failure.
        Ended::Cut => None,
        Ended::Whole | Ended::Broken | Ended::Left => Some(if failed { Outcome::Bad } else { Outcome::Good }),
    };
    if how == Ended::Whole || how == Ended::Left {
        target.work.sign(door.board.clock.mono());
    }
    door.board.recorder.ended(&target.key(), outcome, |cell| {
        *(if failed { &mut cell.pushes.failed } else { &mut cell.pushes.succeeded }) += 1;
        if how == Ended::Whole && status != StatusCode::SWITCHING_PROTOCOLS {
            cell.pushes.service.record(micros(began.elapsed()));
        }
    });
}

fn refuse(door: &Door, agent: &str, unreachable: bool, detail: &str) -> Response {
    let key = match door.board.table.load().active(agent) {
        Some(target) => target.key(),
        None => door.board.key_of_nobody(agent),
    };
    door.board.recorder.ended(&key, unreachable.then_some(Outcome::Bad), |cell| {
        *(if unreachable { &mut cell.pushes.failed } else { &mut cell.pushes.refused }) += 1;
    });
    retry_later(StatusCode::SERVICE_UNAVAILABLE, 5, detail)
}
