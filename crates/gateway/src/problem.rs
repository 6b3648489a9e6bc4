//! Refusals in the form of RFC 9457.

use hyper::{
    StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

use crate::body::{self, Response};

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
}

pub(crate) fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("refused");
    let mut response = body::json(status, &Problem { title, status: status.as_u16(), detail });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// For what can be tried again.
pub(crate) fn retry_later(status: StatusCode, after_secs: u64, detail: &str) -> Response {
    let mut response = problem(status, detail);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after_secs));
    response
}

pub(crate) fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "this path has another method");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The disk of the store is full. What is there already goes on; what comes has to wait.
pub(crate) fn no_room() -> Response {
    let detail = "the disk of the gateway's store is full: no task is taken until there is room";
    retry_later(StatusCode::INSUFFICIENT_STORAGE, 5, detail)
}

/// The store cannot take anything at the moment.
pub(crate) fn unavailable() -> Response {
    retry_later(StatusCode::SERVICE_UNAVAILABLE, 1, "the gateway's store cannot be written")
}
