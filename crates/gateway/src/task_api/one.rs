//! One task: how it stands, cancelling it, queueing it again.

use bellwether_core::traffic::TaskId;
use bytes::Bytes;
use hyper::StatusCode;

use super::{
    full, place, poll, query,
    stream::{self, Source},
    submit::Submitted,
};
use crate::{
    body::{self, Request, Response},
    desk::{Ask, CancelAnswer, Desk, ReviveAnswer, Seen, Unavailable, Wait},
    door::Door,
    problem::{no_room, problem, unavailable},
    store::Shown,
};

pub(super) async fn show(door: &Door, id: &TaskId, request: &Request) -> Result<Response, Response> {
    if query::wants_events(request) {
        return follow(door, id).await;
    }
    let wait = query::wait(request)?;
    let shown = poll(door, wait, |waits, tell| {
        let wait = if waits { Wait::ForEnd } else { Wait::Not };
        Ask::Show { id: id.clone(), wait, tell }
    });
    match shown.await? {
        Some(shown) => Ok(body::json(StatusCode::OK, &shown)),
        None => Err(unknown()),
    }
}

pub(super) async fn cancel(door: &Door, id: &TaskId) -> Result<Response, Response> {
    let cancelled = door.desk.ask(|tell| Ask::Cancel { id: id.clone(), tell }).await;
    match cancelled.map_err(|Unavailable| unavailable())? {
        CancelAnswer::Cancelled(shown) => Ok(body::json(StatusCode::OK, &shown)),
        CancelAnswer::Ended(shown) => {
            Err(problem(StatusCode::CONFLICT, &format!("the task has ended already: it is {}", shown.state)))
        }
        CancelAnswer::Unknown => Err(unknown()),
    }
}

pub(super) async fn retry(door: &Door, id: &TaskId) -> Result<Response, Response> {
    let revived = door.desk.ask(|tell| Ask::Revive { id: id.clone(), tell }).await;
    match revived.map_err(|Unavailable| unavailable())? {
        ReviveAnswer::Queued { agent } => {
            Ok(body::json(StatusCode::ACCEPTED, &Submitted { id: id.as_str(), agent: &agent }))
        }
        ReviveAnswer::NotEnded => Err(problem(StatusCode::CONFLICT, "the task has not ended")),
        ReviveAnswer::Completed => Err(problem(StatusCode::CONFLICT, "the task is completed, and is not done again")),
        ReviveAnswer::Unknown => Err(unknown()),
        ReviveAnswer::NoAgent(detail) => Err(problem(StatusCode::NOT_FOUND, &detail)),
        ReviveAnswer::Full { retry_after } => Err(full(retry_after)),
        ReviveAnswer::NoRoom => Err(no_room()),
    }
}

fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "no task has this id")
}

async fn follow(door: &Door, id: &TaskId) -> Result<Response, Response> {
    let place = place(door)?;
    let told = door.desk.ask(|tell| Ask::Show { id: id.clone(), wait: Wait::Not, tell }).await;
    let Some(first) = told.map_err(|Unavailable| unavailable())? else { return Err(unknown()) };
    let life = Life { desk: door.desk.clone(), id: id.clone(), first: Some(first), wait: Wait::Not, is_over: false };
    Ok(stream::events(door, place, life))
}

/// What becomes of a task. What happens while the last event is on its way is told in one.
struct Life {
    desk: Desk,
    id: TaskId,
    first: Option<Shown>,
    wait: Wait,
    is_over: bool,
}

impl Source for Life {
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let shown = match self.first.take() {
            Some(first) => first,
            // None if it was forgotten since, or the store cannot be written: who follows comes back and sees.
            None => {
                let (id, wait) = (self.id.clone(), self.wait);
                self.desk.ask(|tell| Ask::Show { id, wait, tell }).await.ok().flatten()?
            }
        };
        self.is_over = shown.has_ended();
        self.wait = Wait::ForChange(Seen::of(&shown));
        let name = if self.is_over { "end" } else { "state" };
        Some(Bytes::from(stream::event(Some(name), None, &shown)))
    }
}
