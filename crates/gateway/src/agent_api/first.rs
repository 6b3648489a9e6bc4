//! The first dialect: both bases of the seed.

use bellwether_core::traffic::Progress;
use bytes::Bytes;
use hyper::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Map, Value};

use super::{
    Asked, Word,
    asking::{self, Question, with_attempt},
    report::{self, Said, bad},
};
use crate::{
    body::{self, Request, Response},
    desk::Ask,
    intake, limits,
    problem::{problem, unavailable},
    store::Letter,
    task_api::decoded,
};

pub(super) async fn register(asked: Asked<'_>, request: Request) -> Result<Response, Response> {
    let (_, bytes) = intake::read(request, limits::NOTICE_BYTES).await?;
    let fields: Map<String, Value> = intake::parse(&bytes)?;
    registered(asked, fields.get("max_concurrent_tasks")).await?;
    Ok(asked.or_of_backend(Method::POST, bytes, body::json(StatusCode::OK, &Word { status: "registered" })).await)
}

pub(super) async fn registered(asked: Asked<'_>, places: Option<&Value>) -> Result<(), Response> {
    asked.target.set_away(false);
    let Some(places) = places.and_then(whole) else { return Ok(()) };
    let places = u32::try_from(places).unwrap_or(u32::MAX).clamp(1, limits::PLACES_MAX);
    let instance = asked.target.card.instance;
    asked.door.desk.ask(|tell| Ask::Places { instance, places, tell }).await.map_err(|_gone| unavailable())
}

/// Some languages write every number with a point.
fn whole(number: &Value) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64().filter(|it| *it >= 0.0).map(|it| it as u64))
}

pub(super) async fn heartbeat(asked: Asked<'_>, request: Request) -> Result<Response, Response> {
    let (_, bytes) = intake::read(request, limits::NOTICE_BYTES).await?;
    beat(asked, &bytes)?;
    Ok(asked.or_of_backend(Method::POST, bytes, body::json(StatusCode::OK, &Word { status: "ok" })).await)
}

/// No sign of work: a heartbeat comes from a thread of its own, and goes on while everything else hangs (R90).
pub(super) fn beat(asked: Asked<'_>, bytes: &Bytes) -> Result<(), Response> {
    let opened = asked.target.beat(intake::parse(bytes)?);
    if opened > 0 {
        asked.door.board.recorder.signs(&asked.target.key(), |signs| signs.reported_trips += opened);
    }
    Ok(())
}

pub(super) async fn next(asked: Asked<'_>, agent_type: &str, request: &Request) -> Result<Response, Response> {
    let own = &asked.target.card.agent_type;
    if decoded(agent_type).as_deref() != Some(own.as_str()) {
        return Err(problem(StatusCode::NOT_FOUND, &format!("this instance is of type {own}")));
    }
    let question = Question::of(asked, request)?;
    let Some(mut task) = asking::task(asked, &question).await? else {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    };
    let mut response = Response::new(body::full(with_attempt(&task.body, task.granted.attempt)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    asking::name(response.headers_mut(), &task);
    task.delivered();
    Ok(response)
}

pub(super) async fn progress(asked: Asked<'_>, request: Request) -> Result<Response, Response> {
    let (head, bytes) = intake::read(request, limits::TASK_BYTES).await?;
    let said = Said::of(&head.headers, &bytes)?;
    gets_on(asked, said.task_id()?, &said).await
}

pub(super) async fn gets_on(
    asked: Asked<'_>,
    id: bellwether_core::traffic::TaskId,
    said: &Said,
) -> Result<Response, Response> {
    let (by, attempt, checkpoint) = (asked.target.card.instance, said.attempt, said.checkpoint()?);
    asked.target.work.sign(asked.door.board.clock.mono());
    let told = id.clone();
    let progress = asked
        .door
        .desk
        .ask(|tell| Ask::Progress { id: told, by, attempt, checkpoint, tell })
        .await
        .map_err(|_gone| unavailable())?;
    match progress {
        Progress::Renewed => {
            asked.target.work.call(asked.door.board.clock, true, Some(&id)).sign();
            Ok(body::json(StatusCode::OK, &Word { status: "renewed" }))
        }
        Progress::Conflict => Err(report::conflict()),
        Progress::Unknown => Err(report::unknown()),
    }
}

pub(super) async fn complete(asked: Asked<'_>, request: Request) -> Result<Response, Response> {
    asked.target.work.sign(asked.door.board.clock.mono());
    let (head, bytes) = intake::read(request, limits::TASK_BYTES).await?;
    let said = Said::of(&head.headers, &bytes)?;
    let (id, status) = (said.task_id()?, said.status()?);
    let rule = asked.door.board.result_rule(&asked.target.card.agent);
    let account =
        said.account(&status, rule)?.ok_or_else(|| bad(&format!("status is completed or failed, not {status:?}")))?;
    let letter = asked.relays().then(|| letter(asked, Method::POST, &bytes));
    report::tell(asked, id, account, letter).await
}

/// What the backend is to be sent, as the agent wrote it.
pub(super) fn letter(asked: Asked<'_>, method: Method, body: &Bytes) -> Letter {
    Letter { method, path: asked.path.as_str().to_owned(), body: body.to_vec() }
}
