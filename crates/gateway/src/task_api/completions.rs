//! `GET /completions`: the one end of each task, in order.

use bytes::Bytes;
use hyper::{StatusCode, header::HeaderName};
use serde::Serialize;

use super::{
    place, poll, query,
    stream::{self, Source},
};
use crate::{
    body::{self, Request, Response},
    desk::{Ask, Desk},
    door::Door,
    limits,
    problem::problem,
    store::Completed,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Serialize)]
struct Completions {
    completions: Vec<Completed>,
    next: u64,
}

pub(super) async fn completions(door: &Door, request: &Request) -> Result<Response, Response> {
    let after = query::number(request, "after")?.unwrap_or_default();
    let limit = query::number(request, "limit")?.unwrap_or(limits::COMPLETIONS_MAX);
    let limit = limit.clamp(1, limits::COMPLETIONS_MAX);
    if query::wants_events(request) {
        let after = last_event(request)?.unwrap_or(after);
        let ends = Ends { desk: door.desk.clone(), after, limit };
        return Ok(stream::events(door, place(door)?, ends));
    }
    let wait = query::wait(request)?;
    let completions = poll(door, wait, |wait, tell| Ask::Completions { after, limit, wait, tell }).await?;
    let next = completions.last().map_or(after, |last| last.seq);
    Ok(body::json(StatusCode::OK, &Completions { completions, next }))
}

/// What a reader that comes back has read. It stands above `after`, with which it had begun.
fn last_event(request: &Request) -> Result<Option<u64>, Response> {
    let Some(value) = request.headers().get(LAST_EVENT_ID) else { return Ok(None) };
    let seq = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    seq.map(Some).ok_or_else(|| problem(StatusCode::BAD_REQUEST, "Last-Event-ID is a whole number"))
}

/// As many as there are at a time.
struct Ends {
    desk: Desk,
    after: u64,
    limit: usize,
}

impl Source for Ends {
    async fn next(&mut self) -> Option<Bytes> {
        let (after, limit) = (self.after, self.limit);
        // None if the store cannot be written: who reads comes back, and goes on where it was.
        let ends = self.desk.ask(|tell| Ask::Completions { after, limit, wait: true, tell }).await.ok()?;
        self.after = ends.last()?.seq;
        let events = ends.iter().map(|end| stream::event(None, Some(end.seq), end));
        Some(Bytes::from(events.collect::<String>()))
    }
}
