//! The protocol that the seed's agents speak, for an instance that is known.

use std::sync::Arc;

use bellwether_core::{
    port::gateway::GatewayEvent,
    time::Millis,
    traffic::{Completion, Report, TaskId, Told, falls_short},
};
use hyper::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    body::{self, Request, Response},
    desk::{Ask, HandedOut},
    door::Door,
    intake, limits,
    problem::{method_not_allowed, problem, unavailable},
    target::Target,
};

/// How many tasks the asker works on at once.
const PLACES: &str = "x-bellwether-tasks";
const PREFER: &str = "prefer";
const TASK: HeaderName = HeaderName::from_static("x-bellwether-task");
const ATTEMPT: HeaderName = HeaderName::from_static("x-bellwether-attempt");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call<'a> {
    Register,
    Heartbeat,
    Next { agent_type: &'a str },
    Complete,
    Health,
}

impl<'a> Call<'a> {
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        match path {
            "/api/agents/register" => Some(Self::Register),
            "/api/agents/heartbeat" => Some(Self::Heartbeat),
            "/api/tasks/complete" => Some(Self::Complete),
            "/health" => Some(Self::Health),
            _ => path.strip_prefix("/api/tasks/next/").map(|agent_type| Self::Next { agent_type }),
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Register | Self::Heartbeat | Self::Complete => Method::POST,
            Self::Next { .. } | Self::Health => Method::GET,
        }
    }
}

pub(crate) async fn answer(door: &Door, target: &Arc<Target>, call: Call<'_>, request: Request) -> Response {
    if *request.method() != call.method() {
        return method_not_allowed(if call.method() == Method::GET { "GET" } else { "POST" });
    }
    let answered = match call {
        Call::Register => register(door, target, request).await,
        Call::Heartbeat => heartbeat(door, target, request).await,
        Call::Next { agent_type } => next(door, target, agent_type, &request).await,
        Call::Complete => complete(door, target, request).await,
        Call::Health => Ok(health(door, target)),
    };
    answered.unwrap_or_else(|refusal| refusal)
}

#[derive(Serialize)]
struct Word<'a> {
    status: &'a str,
}

async fn register(door: &Door, target: &Target, request: Request) -> Result<Response, Response> {
    let fields: Map<String, Value> = intake::json(request.into_body(), limits::NOTICE_BYTES).await?;
    if let Some(places) = fields.get("max_concurrent_tasks").and_then(Value::as_u64) {
        let places = u32::try_from(places).unwrap_or(u32::MAX).clamp(1, limits::PLACES_MAX);
        let instance = target.card.instance;
        door.desk.ask(|tell| Ask::Places { instance, places, tell }).await.map_err(|_gone| unavailable())?;
    }
    Ok(body::json(StatusCode::OK, &Word { status: "registered" }))
}

/// No sign of work: a heartbeat comes from a thread of its own, and goes on while everything else hangs (R90).
async fn heartbeat(door: &Door, target: &Target, request: Request) -> Result<Response, Response> {
    let opened = target.beat(intake::json(request.into_body(), limits::NOTICE_BYTES).await?);
    if opened > 0 {
        door.board.recorder.signs(&target.key(), |signs| signs.reported_trips += opened);
    }
    Ok(body::json(StatusCode::OK, &Word { status: "ok" }))
}

async fn next(door: &Door, target: &Target, agent_type: &str, request: &Request) -> Result<Response, Response> {
    if agent_type != target.card.agent_type.as_str() {
        let detail = format!("this instance is of type {}", target.card.agent_type);
        return Err(problem(StatusCode::NOT_FOUND, &detail));
    }
    let instance = target.card.instance;
    target.work.sign(door.board.clock.mono());
    if target.polls_first() {
        door.board.tell(GatewayEvent::Polled { instance });
    }
    let places = match request.headers().get(PLACES) {
        Some(value) => Some(
            places(value)
                .ok_or_else(|| problem(StatusCode::BAD_REQUEST, "X-Bellwether-Tasks is a number from 1 on"))?,
        ),
        None => None,
    };
    let hold = patience(request).unwrap_or(door.tasks.hold);
    let waiting = target.work.asking(door.board.clock);
    let handed_out =
        door.desk.ask(|tell| Ask::Next { instance, places, hold, tell }).await.map_err(|_gone| unavailable())?;
    drop(waiting);
    let Some(HandedOut { granted, body }) = handed_out else {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    };
    let mut response = Response::new(body::full(with_attempt(&body, granted.attempt)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ATTEMPT, HeaderValue::from(granted.attempt));
    if let Ok(id) = HeaderValue::from_str(granted.id.as_str()) {
        headers.insert(TASK, id);
    }
    Ok(response)
}

fn places(value: &HeaderValue) -> Option<u32> {
    let places: u32 = value.to_str().ok()?.trim().parse().ok()?;
    (places > 0).then_some(places.min(limits::PLACES_MAX))
}

/// How long the asker says that it would wait (RFC 7240, `Prefer: wait=10`).
fn patience(request: &Request) -> Option<Millis> {
    let preferences = request.headers().get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut each = preferences.flat_map(|value| value.split([',', ';'])).map(str::trim);
    let seconds: u64 = each.find_map(|preference| preference.strip_prefix("wait="))?.trim().parse().ok()?;
    Some(Millis::from_secs(seconds).min(limits::HOLD_MAX))
}

/// The stored object always has at least its id, so there is a field to put the attempt before.
fn with_attempt(body: &[u8], attempt: u32) -> Vec<u8> {
    let mut whole = format!("{{\"attempt\":{attempt},").into_bytes();
    whole.extend_from_slice(body.get(1..).unwrap_or_default());
    whole
}

#[derive(Deserialize)]
struct Finished {
    task_id: Value,
    status: String,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<Box<RawValue>>,
    #[serde(default)]
    attempt: Option<u32>,
    /// False: another attempt would not mend it.
    #[serde(default)]
    retry: Option<bool>,
}

async fn complete(door: &Door, target: &Target, request: Request) -> Result<Response, Response> {
    target.work.sign(door.board.clock.mono());
    let finished: Finished = intake::json(request.into_body(), limits::TASK_BYTES).await?;
    let id = match finished.task_id {
        Value::String(id) => TaskId::new(id),
        Value::Number(id) => TaskId::new(id.to_string()),
        _ => return Err(problem(StatusCode::BAD_REQUEST, "task_id is neither text nor a number")),
    };
    let (report, result) = match finished.status.as_str() {
        "completed" => {
            let text = finished.result.as_deref().map_or("null", RawValue::get);
            let rule = door.board.result_rule(&target.card.agent);
            // Whatever can be parsed as raw JSON can be parsed as a value, nesting apart.
            let empty = serde_json::from_str(text).is_ok_and(|value| falls_short(&value, rule));
            (Report::Completed { empty }, finished.result)
        }
        "failed" => (Report::Failed, finished.error.or(finished.result)),
        other => {
            let detail = format!("status is completed or failed, not {other:?}");
            return Err(problem(StatusCode::BAD_REQUEST, &detail));
        }
    };
    let result = result.map(|raw| raw.get().as_bytes().to_vec()).unwrap_or_default();
    let by = target.card.instance;
    let told = Told { report, attempt: finished.attempt, for_good: finished.retry == Some(false) };
    let completion =
        door.desk.ask(|tell| Ask::Complete { id, by, told, result, tell }).await.map_err(|_gone| unavailable())?;
    Ok(match completion {
        Completion::Retried => body::json(StatusCode::OK, &Word { status: "retried" }),
        Completion::Accepted { .. } | Completion::TriedOut => body::json(StatusCode::OK, &Word { status: "accepted" }),
        Completion::Repeated => body::json(StatusCode::OK, &Word { status: "repeated" }),
        Completion::Conflict => {
            problem(StatusCode::CONFLICT, "the lease of this task is not, or no longer, this instance's")
        }
        Completion::Unknown => problem(StatusCode::NOT_FOUND, "no task has this id"),
    })
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    /// Whether new tasks and requests come to this instance.
    active: bool,
    heartbeat_age_ms: Option<u64>,
    /// What the instance said of itself last.
    heartbeat: Option<Map<String, Value>>,
}

fn health(door: &Door, target: &Arc<Target>) -> Response {
    let table = door.board.table.load();
    let active = table.active(target.card.agent.as_str()).is_some_and(|active| Arc::ptr_eq(active, target));
    let heartbeat = target.heartbeat();
    let age = heartbeat.as_ref().map(|it| u64::try_from(it.at.elapsed().as_millis()).unwrap_or(u64::MAX));
    let health = Health { status: "ok", active, heartbeat_age_ms: age, heartbeat: heartbeat.map(|it| it.fields) };
    body::json(StatusCode::OK, &health)
}

/// For who cannot be told apart: that the gateway is there.
pub(crate) fn health_of_gateway() -> Response {
    body::json(StatusCode::OK, &Word { status: "ok" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attempt_goes_in_front_of_what_the_submitter_gave() {
        let whole = with_attempt(br#"{"id":"t","prompt":"a\u0062c"}"#, 2);
        assert_eq!(String::from_utf8(whole).unwrap(), r#"{"attempt":2,"id":"t","prompt":"a\u0062c"}"#);
    }

    #[test]
    fn places_are_bounded_and_never_none() {
        let places = |text| places(&HeaderValue::from_static(text));
        assert_eq!((places("3"), places("1000000"), places("0"), places("x")), (Some(3), Some(64), None, None));
    }

    #[test]
    fn the_seeds_paths_are_known() {
        assert_eq!(Call::of("/api/tasks/next/monitor"), Some(Call::Next { agent_type: "monitor" }));
        assert_eq!(Call::of("/api/tags"), None);
    }
}
