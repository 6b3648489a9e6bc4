//! `/tasks` and `/completions`: where tasks come in, and where people see what becomes of them.

mod completions;
mod list;
mod one;
mod query;
mod stream;
mod submit;

use std::time::Duration;

use bellwether_core::{spec::TaskMode, time::Millis, traffic::TaskId};
use hyper::{Method, StatusCode};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

pub(crate) use self::query::decoded;
use crate::{
    body::{Request, Response},
    desk::{Ask, Tell, Unavailable},
    door::Door,
    problem::{method_not_allowed, problem, retry_later, unavailable},
};

pub(crate) async fn answer(door: &Door, path: &str, request: Request) -> Response {
    if door.tasks.mode == TaskMode::None {
        return problem(StatusCode::NOT_FOUND, "the fleet file says tasks.mode: none");
    }
    let answered = match (path, request.method()) {
        ("/tasks", &Method::POST) if door.tasks.mode == TaskMode::Relay => {
            let backend = door.tasks.backend.as_deref().unwrap_or_default();
            Err(problem(StatusCode::NOT_FOUND, &format!("tasks come from the backend {backend} (tasks.mode: relay)")))
        }
        ("/tasks", &Method::POST) => submit::submit(door, request).await,
        ("/tasks", &Method::GET) => list::list(door, &request).await,
        ("/tasks", _) => Err(method_not_allowed("GET, POST")),
        ("/completions", &Method::GET) => completions::completions(door, &request).await,
        ("/completions", _) => Err(method_not_allowed("GET")),
        _ => match path.strip_prefix("/tasks/") {
            Some(below) => of_one(door, below, &request).await,
            None => Err(nothing_here()),
        },
    };
    answered.unwrap_or_else(|refusal| refusal)
}

/// `/tasks/{id}`, and `/tasks/{id}/retry`. An id has no slash in it, so what is behind one is not part of it.
async fn of_one(door: &Door, below: &str, request: &Request) -> Result<Response, Response> {
    let (id, call) = below.split_once('/').map_or((below, None), |(id, call)| (id, Some(call)));
    let Some(id) = decoded(id) else {
        return Err(problem(StatusCode::BAD_REQUEST, "the id in the path is not well escaped"));
    };
    let id = TaskId::new(id);
    match (call, request.method()) {
        (None, &Method::GET) => one::show(door, &id, request).await,
        (None, &Method::DELETE) => one::cancel(door, &id).await,
        (None, _) => Err(method_not_allowed("DELETE, GET")),
        (Some("retry"), &Method::POST) => one::retry(door, &id).await,
        (Some("retry"), _) => Err(method_not_allowed("POST")),
        (Some(_), _) => Err(nothing_here()),
    }
}

fn nothing_here() -> Response {
    problem(StatusCode::NOT_FOUND, "there is nothing at this path")
}

fn full(retry_after: Millis) -> Response {
    let secs = retry_after.0.div_ceil(1000).max(1);
    let detail = "as many tasks wait as tasks.waiting and tasks.waiting_bytes of the fleet file allow";
    retry_later(StatusCode::TOO_MANY_REQUESTS, secs, detail)
}

/// Asks; where there is nothing yet and the asker would wait, for as long as it would and the gateway goes on here.
async fn poll<T>(door: &Door, wait: Duration, ask: impl Fn(bool, Tell<T>) -> Ask) -> Result<T, Response> {
    if !wait.is_zero() {
        let (_place, parting) = (place(door)?, door.gate.parting());
        let answer = timeout(wait, door.desk.ask(|tell| ask(true, tell)));
        tokio::select! {
            answered = answer => if let Ok(answered) = answered {
                return answered.map_err(|Unavailable| unavailable());
            },
            () = parting.cancelled() => {}
        }
    }
    door.desk.ask(|tell| ask(false, tell)).await.map_err(|Unavailable| unavailable())
}

/// Among those that may wait for something at once.
fn place(door: &Door) -> Result<OwnedSemaphorePermit, Response> {
    let place = door.long_pollers.clone().try_acquire_owned();
    place.map_err(|_full| retry_later(StatusCode::TOO_MANY_REQUESTS, 1, "too many wait for an answer already"))
}
