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
    client::conn::http1::SendRequest,
    header::{HOST, HeaderValue},
    http::uri::PathAndQuery,
    upgrade::OnUpgrade,
};
use tokio::{
    sync::{SemaphorePermit, watch},
    time::{Instant, sleep_until},
};

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
            return visit.pass_on_push(request.undone()).await;
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
                        request = back;
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
        let place = request.extensions_mut().remove();
        let protocol = hop::strip(request.headers_mut());
        if let Some(protocol) = &protocol {
            hop::put_upgrade(request.headers_mut(), protocol.clone());
        }
        let whole = Box::new(std::mem::replace(request.uri_mut(), rest.into()));
        *request.version_mut() = Version::HTTP_11;
        Self { request, upgrade: protocol.map(|protocol| Upgrade { client, protocol, place }), whole }
    }

    /// As it came, for another gateway.
    fn undone(self) -> (Request, Option<(OnUpgrade, Option<Place>)>) {
        let Self { mut request, upgrade, whole } = self;
        *request.uri_mut() = *whole;
        (request, upgrade.map(|Upgrade { client, place, .. }| (client, place)))
    }
}

enum Forwarded {
    Answered(Response),
    /// Not a byte of it reached the instance.
    Unreached(Prepared),
}

async fn forward(
    door: &Arc<Door>,
    claim: Claim,
    under_way: &Arc<UnderWay>,
    prepared: Prepared,
    began: Instant,
) -> Forwarded {
    let target = claim.target().clone();
    let Some(upstream) = target.card.upstream else { return Forwarded::Unreached(prepared) };
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
    let (response, sender) = match sent {
        Ok(both) => both,
        Err(Unsent::Unreached(request)) => return Forwarded::Unreached(Prepared { request: *request, upgrade, whole }),
        Err(Unsent::Cut) => {
            count(door, &target, Ended::Cut, StatusCode::BAD_GATEWAY, began);
            return Forwarded::Answered(problem(StatusCode::BAD_GATEWAY, "cut at the drain limit"));
        }
        Err(Unsent::Broken) => {
            count(door, &target, Ended::Broken, StatusCode::BAD_GATEWAY, began);
            return Forwarded::Answered(problem(StatusCode::BAD_GATEWAY, "the instance broke off before it answered"));
        }
    };
    Forwarded::Answered(if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        open_tunnel(door, (claim, under_way.clone()), response, upgrade, began)
    } else {
        relay(door, (claim, under_way.clone()), response, sender, began)
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
    mut request: Request,
) -> Result<(hyper::Response<Incoming>, SendRequest<Incoming>), Unsent> {
    loop {
        let (mut sender, is_fresh) = match door.pool.take(target.card.instance) {
            Some(sender) => (sender, false),
            None => match door.pool.connect(upstream).await {
                Ok(sender) => (sender, true),
                Err(error) => {
                    tracing::debug!(%error, instance = %target.card.instance, "cannot connect");
                    return Err(Unsent::Unreached(Box::new(request)));
                }
            },
        };
        match sender.try_send_request(request).await {
            Ok(response) => return Ok((response, sender)),
            Err(mut failed) => match failed.take_message() {
                Some(back) if is_fresh => return Err(Unsent::Unreached(Box::new(back))),
                Some(back) => request = back,
                None => {
                    tracing::debug!(error = %failed.into_error(), instance = %target.card.instance, "no answer");
                    return Err(Unsent::Broken);
                }
            },
        }
    }
}

/// The answer, with the claim held to its last byte.
fn relay(
    door: &Arc<Door>,
    (claim, under_way): (Claim, Arc<UnderWay>),
    response: hyper::Response<Incoming>,
    sender: SendRequest<Incoming>,
    began: Instant,
) -> Response {
    let (mut head, incoming) = response.into_parts();
    let peer_keeps = hop::kept_idle_secs(&head.headers).map(std::time::Duration::from_secs);
    hop::strip(&mut head.headers);
    // The version is a matter of each connection.
    head.version = Version::HTTP_11;
    let (door, status) = (door.clone(), head.status);
    let cut = claim.target().cut_token();
    let end = move |how| {
        let target = claim.target();
        if how == Ended::Whole {
            door.pool.put(target, sender, peer_keeps);
        }
        count(&door, target, how, status, began);
        drop((claim, under_way));
    };
    Response::from_parts(head, Guarded::new(incoming, cut, end).boxed_unsync())
}

fn open_tunnel(
    door: &Arc<Door>,
    (claim, under_way): (Claim, Arc<UnderWay>),
    mut response: hyper::Response<Incoming>,
    upgrade: Option<Upgrade>,
    began: Instant,
) -> Response {
    let Some(Upgrade { client, protocol: asked, place }) = upgrade else {
        count(door, claim.target(), Ended::Broken, StatusCode::BAD_GATEWAY, began);
        return problem(StatusCode::BAD_GATEWAY, "the instance switched protocols unasked");
    };
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    let protocol = hop::strip(&mut head.headers).unwrap_or(asked);
    hop::put_upgrade(&mut head.headers, protocol);
    let tunnel = door.clone();
    door.tunnels.spawn(async move {
        let target = claim.target();
        let ended = tunnel::run(client, upstream, target.cut_token()).await;
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
