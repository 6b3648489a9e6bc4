//! The second dialect, as generated agents speak it: the agent's name is in the path.

use bellwether_core::traffic::TaskId;
use hyper::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Map, Value};

use super::{
    Asked, Word,
    asking::{self, Question, with_attempt},
    first,
    report::{self, Said, bad},
};
use crate::{
    body::{self, Request, Response},
    desk::{Ask, HandedOut},
    intake, limits,
    problem::{problem, unavailable},
    task_api::decoded,
};

pub(super) async fn register(asked: Asked<'_>, request: Request) -> Result<Response, Response> {
    let (_, bytes) = intake::read(request, limits::NOTICE_BYTES).await?;
    let fields: Map<String, Value> = intake::parse(&bytes)?;
    let places = fields.get("max_concurrent_tasks").or_else(|| fields.get("config")?.get("max_concurrent_tasks"));
    first::registered(asked, places).await?;
    Ok(asked.or_of_backend(Method::POST, bytes, body::json(StatusCode::OK, &Word { status: "registered" })).await)
}

pub(super) async fn heartbeat(asked: Asked<'_>, name: &str, request: Request) -> Result<Response, Response> {
    is_own(asked, name)?;
    let (_, bytes) = intake::read(request, limits::NOTICE_BYTES).await?;
    first::beat(asked, &bytes)?;
    Ok(asked.or_of_backend(Method::POST, bytes, body::json(StatusCode::OK, &Word { status: "ok" })).await)
}

/// As many as the instance has places for; one that waits is enough for an answer.
pub(super) async fn tasks(asked: Asked<'_>, name: &str, request: &Request) -> Result<Response, Response> {
    is_own(asked, name)?;
    let question = Question::of(asked, request)?;
    let mut tasks: Vec<HandedOut> = asking::task(asked, &question).await?.into_iter().collect();
    while !tasks.is_empty() && tasks.len() < limits::PLACES_MAX as usize && has_room(asked, question.places).await? {
        match asking::ask(asked, question.places, bellwether_core::time::Millis::ZERO).await? {
            // One that is synthetic is given again as long as it is out.
            Some(mut task) if tasks.iter().any(|it| it.granted.id == task.granted.id) => {
                task.delivered();
                break;
            }
            Some(task) => tasks.push(task),
            None => break,
        }
    }
    let mut list = br#"{"tasks":["#.to_vec();
    for (n, task) in tasks.iter().enumerate() {
        if n > 0 {
            list.push(b',');
        }
        list.extend(with_attempt(&task.body, task.granted.attempt));
    }
    list.extend(b"]}");
    let mut response = Response::new(body::full(list));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let [only] = tasks.as_slice() {
        asking::name(response.headers_mut(), only);
    }
    tasks.iter_mut().for_each(HandedOut::delivered);
    Ok(response)
}

async fn has_room(asked: Asked<'_>, places: Option<u32>) -> Result<bool, Response> {
    let instance = asked.target.card.instance;
    asked.door.desk.ask(|tell| Ask::HasRoom { instance, places, tell }).await.map_err(|_gone| unavailable())
}

pub(super) async fn status(asked: Asked<'_>, id: &str, request: Request) -> Result<Response, Response> {
    asked.target.work.sign(asked.door.board.clock.mono());
    let id = decoded(id).map(TaskId::new).ok_or_else(|| bad("the id in the path is not text"))?;
    let (head, bytes) = intake::read(request, limits::TASK_BYTES).await?;
    let said = Said::of(&head.headers, &bytes)?;
    if said.id("task_id")?.is_some_and(|named| named != id) {
        return Err(bad("task_id is not the id in the path"));
    }
    let status = said.status()?;
    if status == "processing" {
        return first::gets_on(asked, id, &said).await;
    }
    let rule = asked.door.board.result_rule(&asked.target.card.agent);
    let account = said
        .account(&status, rule)?
        .ok_or_else(|| bad(&format!("status is processing, completed or failed, not {status:?}")))?;
    let letter = asked.relays().then(|| first::letter(asked, Method::PUT, &bytes));
    report::tell(asked, id, account, letter).await
}

/// What it holds goes back, and nothing comes to it before it registers again. Its route is the controller's to move.
pub(super) async fn goodbye(asked: Asked<'_>, name: &str, request: Request) -> Result<Response, Response> {
    is_own(asked, name)?;
    drop(request);
    let instance = asked.target.card.instance;
    asked.target.set_away(true);
    asked.door.desk.ask(|tell| Ask::Leave { instance, tell }).await.map_err(|_gone| unavailable())?;
    let ours = body::json(StatusCode::OK, &Word { status: "unregistered" });
    Ok(asked.or_of_backend(Method::DELETE, bytes::Bytes::new(), ours).await)
}

fn is_own(asked: Asked<'_>, name: &str) -> Result<(), Response> {
    let own = &asked.target.card.agent;
    match decoded(name) {
        Some(name) if name == own.as_str() => Ok(()),
        _ => Err(problem(StatusCode::FORBIDDEN, &format!("this instance is of agent {own}"))),
    }
}
