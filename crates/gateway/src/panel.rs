//! What the gateway shows of itself to people and programs beside the traffic: `/metrics`, and `/breakers` to look at and
//! to set by hand.

use bellwether_core::{
    id::{AgentName, Side},
    inference::BreakerState,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    body::{self, Request, Response},
    breakers::Breakers,
    limits, metrics,
    model::Model,
    observe::Recorder,
    problem::{method_not_allowed, problem},
};

/// `GET /metrics`
pub(crate) fn metrics(recorder: &Recorder, breakers: &Breakers, model: &Model) -> Response {
    let shown = [breakers.shown(), model.breakers()].concat();
    match recorder.metrics.render(&model.slots(), &shown) {
        Ok(text) => {
            let mut response =
                Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            response
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("the metrics cannot be written: {error}")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    state: BreakerState,
}

/// `GET /breakers`, `PUT /breakers/{agent}/{side}`
pub(crate) async fn breakers(breakers: &Breakers, model: &Model, path: &str, request: Request) -> Response {
    let mut parts = path.trim_start_matches("/breakers").trim_matches('/').splitn(2, '/');
    match (parts.next().filter(|agent| !agent.is_empty()), parts.next()) {
        (None, _) if *request.method() == Method::GET => {
            body::json(StatusCode::OK, &[breakers.shown(), model.breakers()].concat())
        }
        (None, _) => method_not_allowed("GET"),
        (Some(agent), Some(side)) if *request.method() == Method::PUT => {
            let Some(side) = [Side::Blue, Side::Green].into_iter().find(|it| it.to_string() == side) else {
                return problem(StatusCode::NOT_FOUND, "a breaker is an agent's on one side: blue or green");
            };
            let reading = Limited::new(request.into_body(), limits::NOTICE_BYTES).collect();
            let Ok(Ok(read)) = timeout(limits::BODY_TIMEOUT, reading).await else {
                return problem(StatusCode::BAD_REQUEST, "the body did not arrive");
            };
            match serde_json::from_slice::<Wanted>(&read.to_bytes()) {
                Ok(Wanted { state }) => {
                    breakers.force(&AgentName::new(agent), side, state);
                    body::json(StatusCode::OK, &breakers.shown())
                }
                Err(error) => problem(
                    StatusCode::BAD_REQUEST,
                    &format!("{error}; say {{\"state\": \"forced_open\"}}, disabled, metrics_only or closed"),
                ),
            }
        }
        (Some(_), Some(_)) => method_not_allowed("PUT"),
        (Some(_), None) => {
            problem(StatusCode::NOT_FOUND, "say whose breaker: /breakers/AGENT/blue or /breakers/AGENT/green")
        }
    }
}
