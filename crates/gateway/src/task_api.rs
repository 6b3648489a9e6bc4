//! `/tasks` and `/completions`: where tasks come in, and where their ends are read.

use std::{collections::BTreeMap, time::Duration};

use bellwether_core::{
    spec::TaskMode,
    traffic::{self, Addressee, TaskId},
};
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::{
    body::{self, Request, Response},
    desk::{Ask, Submission, SubmitAnswer, Tell, Unavailable},
    door::Door,
    intake, limits,
    problem::{method_not_allowed, problem, retry_later, unavailable},
    store::Completed,
};

const ID_MAX: usize = 200;

pub(crate) async fn answer(door: &Door, path: &str, request: Request) -> Response {
    if door.tasks.mode == TaskMode::None {
        return problem(StatusCode::NOT_FOUND, "the fleet file says tasks.mode: none");
    }
    let answered = match (path, request.method()) {
        ("/tasks", &Method::POST) => submit(door, request).await,
        ("/tasks", &Method::GET) => counts(door).await,
        ("/tasks", _) => Err(method_not_allowed("GET, POST")),
        ("/completions", &Method::GET) => completions(door, &request).await,
        ("/completions", _) => Err(method_not_allowed("GET")),
        _ => match (path.strip_prefix("/tasks/"), request.method()) {
            (Some(id), &Method::GET) => show(door, id, &request).await,
            (Some(_), _) => Err(method_not_allowed("GET")),
            (None, _) => Err(problem(StatusCode::NOT_FOUND, "there is nothing at this path")),
        },
    };
    answered.unwrap_or_else(|refusal| refusal)
}

#[derive(Serialize)]
struct Submitted<'a> {
    id: &'a str,
    agent: &'a str,
}

async fn submit(door: &Door, request: Request) -> Result<Response, Response> {
    let fields = intake::json(request.into_body(), limits::TASK_BYTES).await?;
    let submission = submission(fields).map_err(|detail| problem(StatusCode::BAD_REQUEST, &detail))?;
    let id = submission.task.id.clone();
    let answer = door.desk.ask(|tell| Ask::Submit(submission, tell)).await.map_err(|Unavailable| unavailable())?;
    let id = id.as_str();
    Ok(match answer {
        SubmitAnswer::Queued { agent } => body::json(StatusCode::ACCEPTED, &Submitted { id, agent: &agent }),
        SubmitAnswer::Known { agent } => body::json(StatusCode::OK, &Submitted { id, agent: &agent }),
        SubmitAnswer::NotFound(detail) => problem(StatusCode::NOT_FOUND, &detail),
        SubmitAnswer::Full { retry_after } => {
            let secs = retry_after.0.div_ceil(1000).max(1);
            retry_later(StatusCode::TOO_MANY_REQUESTS, secs, "too many tasks wait already")
        }
    })
}

type Fields = BTreeMap<String, Box<RawValue>>;

/// Fields pass as they were written; only the id is ours to give, and the attempt.
fn submission(mut fields: Fields) -> Result<Submission, String> {
    let text = |fields: &Fields, name: &str| -> Result<Option<String>, String> {
        let Some(raw) = fields.get(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map_err(|_other| format!("{name} is not text"))
    };
    let to = match (text(&fields, "agent")?, text(&fields, "type")?) {
        (Some(agent), None) => Addressee::Agent(agent.as_str().into()),
        (None, Some(agent_type)) => Addressee::Type(agent_type.as_str().into()),
        // `type` beside `agent` is the submitter's own field, as the seed's tasks have it.
        (Some(agent), Some(_)) => Addressee::Agent(agent.as_str().into()),
        (None, None) => return Err("a task needs an agent or a type".to_owned()),
    };
    let id = match text(&fields, "id")? {
        Some(id) if is_id(&id) => id,
        Some(_) => return Err(format!("an id has 1 to {ID_MAX} letters, digits or any of . _ : ~ -")),
        None => format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
    };
    let raw = RawValue::from_string(format!("\"{id}\"")).map_err(|error| error.to_string())?;
    fields.insert("id".to_owned(), raw);
    fields.remove("attempt");
    let body = serde_json::to_vec(&fields).map_err(|error| error.to_string())?;
    let bytes = body.len() as u64;
    let task = traffic::Submission { bytes, ..traffic::Submission::new(TaskId::new(id), to, fastrand::u64(..)) };
    Ok(Submission { task, body })
}

fn is_id(id: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '~' | '-');
    !id.is_empty() && id.len() <= ID_MAX && id.chars().all(allowed)
}

async fn counts(door: &Door) -> Result<Response, Response> {
    let counts = door.desk.ask(Ask::Counts).await.map_err(|Unavailable| unavailable())?;
    Ok(body::json(StatusCode::OK, &counts))
}

async fn show(door: &Door, id: &str, request: &Request) -> Result<Response, Response> {
    let wait = wait_of(request)?;
    let id = TaskId::new(id);
    let shown = poll(door, wait, |wait, tell| Ask::Show { id: id.clone(), wait, tell }).await?;
    match shown {
        Some(shown) => Ok(body::json(StatusCode::OK, &shown)),
        None => Err(problem(StatusCode::NOT_FOUND, "no task has this id")),
    }
}

#[derive(Serialize)]
struct Completions {
    completions: Vec<Completed>,
    next: u64,
}

async fn completions(door: &Door, request: &Request) -> Result<Response, Response> {
    let wait = wait_of(request)?;
    let after = number(request, "after")?.unwrap_or_default();
    let limit = number(request, "limit")?.and_then(|it| usize::try_from(it).ok()).unwrap_or(limits::COMPLETIONS_MAX);
    let limit = limit.clamp(1, limits::COMPLETIONS_MAX);
    let completions = poll(door, wait, |wait, tell| Ask::Completions { after, limit, wait, tell }).await?;
    let next = completions.last().map_or(after, |last| last.seq);
    Ok(body::json(StatusCode::OK, &Completions { completions, next }))
}

/// Asks; where there is nothing yet and the asker would wait, for as long as it would.
async fn poll<T>(door: &Door, wait: Duration, ask: impl Fn(bool, Tell<T>) -> Ask) -> Result<T, Response> {
    if !wait.is_zero() {
        let _place = door
            .long_pollers
            .try_acquire()
            .map_err(|_full| retry_later(StatusCode::TOO_MANY_REQUESTS, 1, "too many wait for an answer already"))?;
        if let Ok(answered) = timeout(wait, door.desk.ask(|tell| ask(true, tell))).await {
            return answered.map_err(|Unavailable| unavailable());
        }
    }
    door.desk.ask(|tell| ask(false, tell)).await.map_err(|Unavailable| unavailable())
}

fn wait_of(request: &Request) -> Result<Duration, Response> {
    Ok(Duration::from_millis(number(request, "wait_ms")?.unwrap_or_default()).min(limits::LONG_POLL))
}

fn number(request: &Request, name: &str) -> Result<Option<u64>, Response> {
    let query = request.uri().query().unwrap_or_default();
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
    let Some((_, value)) = value else { return Ok(None) };
    value.parse().map(Some).map_err(|_error| problem(StatusCode::BAD_REQUEST, &format!("{name} is a whole number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Submission, String> {
        submission(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn fields_pass_as_they_were_written() {
        let it =
            parsed(r#"{"agent":"a","id":"t1","temperature":1.10,"big":12345678901234567890123,"attempt":7}"#).unwrap();
        let body = String::from_utf8(it.body).unwrap();
        assert_eq!(body, r#"{"agent":"a","big":12345678901234567890123,"id":"t1","temperature":1.10}"#);
        assert_eq!(it.task.to, Addressee::Agent("a".into()));
    }

    #[test]
    fn ids_are_made_where_none_is_given_and_never_the_same() {
        let [one, two] = [(); 2].map(|()| parsed(r#"{"type":"worker"}"#).unwrap());
        assert_ne!(one.task.id, two.task.id);
        assert!(is_id(one.task.id.as_str()));
        assert_eq!(one.task.to, Addressee::Type("worker".into()));
    }

    #[test]
    fn what_cannot_be_a_task_is_said_clearly() {
        for (json, says) in [
            (r#"{"prompt":"x"}"#, "needs an agent or a type"),
            (r#"{"agent":7}"#, "agent is not text"),
            (r#"{"agent":"a","id":"a/b"}"#, "an id has"),
            (r#"{"agent":"a","id":""}"#, "an id has"),
        ] {
            let error = parsed(json).err().unwrap();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
