//! `GET /health`: how it stands, for people and for whatever restarts containers.

use hyper::StatusCode;
use serde::Serialize;

use super::house::House;
use crate::body::{self, Response};

#[derive(Serialize)]
struct Health<'a> {
    /// `ok`, or `degraded` while a model server cannot be reached. The gateway itself is well in both cases.
    status: &'static str,
    bypass: bool,
    /// Of all model servers together. With `bypass` nobody is given one.
    slots: u32,
    busy: u32,
    waiting: u32,
    /// Clients that have an account of their own.
    clients: usize,
    upstreams: Vec<Upstream<'a>>,
}

#[derive(Serialize)]
struct Upstream<'a> {
    url: &'a str,
    slots: u32,
    reachable: bool,
}

pub(super) fn answer(house: &House) -> Response {
    let upstreams: Vec<Upstream<'_>> = house
        .upstreams
        .iter()
        .enumerate()
        .map(|(server, it)| Upstream { url: &it.url, slots: it.slots, reachable: house.probes.is_reachable(server) })
        .collect();
    let (bypass, (busy, waiting)) = match &house.model {
        Some(model) => (false, model.load()),
        None => (true, (0, 0)),
    };
    let health = Health {
        status: if upstreams.iter().all(|upstream| upstream.reachable) { "ok" } else { "degraded" },
        bypass,
        slots: upstreams.iter().map(|upstream| upstream.slots).sum(),
        busy,
        waiting,
        clients: house.clients.count(),
        upstreams,
    };
    body::json(StatusCode::OK, &health)
}
