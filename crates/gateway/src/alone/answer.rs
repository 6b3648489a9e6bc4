//! Where a request goes: to the gateway's own few paths, or on to the model server in its client's name.

use std::net::IpAddr;

use hyper::{Method, StatusCode, http::uri::PathAndQuery};

use super::{
    health,
    house::{House, Way},
};
use crate::{
    body::{Request, Response},
    caller::Caller,
    naming, panel,
    path::rest,
    problem::{method_not_allowed, problem, unavailable},
};

pub(super) async fn answer(house: &House, way: &Way, peer: IpAddr, request: Request) -> Response {
    if *request.method() == Method::CONNECT {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "this is no forward proxy");
    }
    let path = request.uri().path().to_owned();
    let mut parts = path.splitn(4, '/').skip(1);
    match (parts.next(), parts.next().filter(|name| !name.is_empty())) {
        (Some("health"), None) => match *request.method() {
            Method::GET | Method::HEAD => health::answer(house),
            _ => method_not_allowed("GET, HEAD"),
        },
        (Some("metrics"), None) => match (&house.model, request.method()) {
            (Some(model), &Method::GET) => panel::metrics(&house.recorder, &house.breakers, model),
            (Some(_), _) => method_not_allowed("GET"),
            (None, _) => problem(StatusCode::NOT_FOUND, "with --bypass nothing is counted"),
        },
        (Some("m"), Some(client)) => {
            if !naming::is_name(client) {
                return problem(StatusCode::NOT_FOUND, naming::NAMES);
            }
            match rest(&request, "/m/".len() + client.len()) {
                Some(rest) => on((house, way), Some(client), peer, rest.as_str(), request).await,
                None => problem(StatusCode::BAD_REQUEST, "the path cannot be passed on"),
            }
        }
        _ => {
            let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
            on((house, way), None, peer, &path, request).await
        }
    }
}

/// To the model server. `path_and_query` as it knows it.
async fn on(
    (house, way): (&House, &Way),
    client: Option<&str>,
    peer: IpAddr,
    path_and_query: &str,
    request: Request,
) -> Response {
    let (model, lane) = match way {
        Way::Straight(straight) => return straight.answer(path_and_query, request).await,
        Way::Admitted { model, lane } => (model, lane),
    };
    let name = naming::name(client, request.headers(), Some(peer));
    let account = house.clients.account(name, house.clock.mono());
    // Nobody takes the slots over from this gateway; if it ever happened, the call was not begun.
    let served = model.serve(lane, Caller::outside(account), path_and_query, request).await;
    served.unwrap_or_else(|_not_begun| unavailable())
}
