//! `GET /health`: how it stands, for people and for whatever restarts containers.

use hyper::StatusCode;
use serde::Serialize;

use super::house::{House, Way};
use crate::body::{self, Response};

#[derive(Serialize)]
struct Health<'a> {
    /// `ok`, or `degraded` while the model server cannot be reached. The gateway itself is well in both cases.
    status: &'static str,
    bypass: bool,
    /// Of all model servers together. With `bypass` nobody is given one.
    slots: u32,
    busy: u32,
    waiting: u32,
    /// Clients that have an account of their own.
    clients: usize,
    upstreams: [Upstream<'a>; 1],
}

#[derive(Serialize)]
struct Upstream<'a> {
    url: &'a str,
    slots: u32,
    reachable: bool,
}

pub(super) fn answer(house: &House) -> Response {
    let reachable = house.is_reachable();
    let (bypass, (busy, waiting)) = match &house.way {
        Way::Admitted(model) => (false, model.load()),
        Way::Straight(_) => (true, (0, 0)),
    };
    let upstream = &house.upstream;
    let health = Health {
        status: if reachable { "ok" } else { "degraded" },
        bypass,
        slots: upstream.slots,
        busy,
        waiting,
        clients: house.clients.count(),
        upstreams: [Upstream { url: &upstream.url, slots: upstream.slots, reachable }],
    };
    body::json(StatusCode::OK, &health)
}
