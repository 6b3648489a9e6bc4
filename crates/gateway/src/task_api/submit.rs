//! Submitting: the fields that the queue reads. Everything passes to the agent as it was written.

use std::collections::BTreeMap;

use bellwether_core::{
    spec::unit,
    time::Millis,
    traffic::{self, Addressee, Priority, TaskId},
};
use hyper::{HeaderMap, StatusCode, header::HeaderName};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::full;
use crate::{
    body::{self, Request, Response},
    desk::{Ask, Submission, SubmitAnswer, Unavailable},
    door::Door,
    intake, limits,
    problem::{no_room, problem, unavailable},
};

const ID_MAX: usize = 200;
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[derive(Serialize)]
pub(super) struct Submitted<'a> {
    pub(super) id: &'a str,
    pub(super) agent: &'a str,
}

pub(super) async fn submit(door: &Door, request: Request) -> Result<Response, Response> {
    let wrong = |detail: String| problem(StatusCode::BAD_REQUEST, &detail);
    let key = key(request.headers()).map_err(wrong)?;
    let fields = intake::json(request, limits::TASK_BYTES).await?;
    let submission = submission(fields, key).map_err(wrong)?;
    let id = submission.task.id.clone();
    let answer = door.desk.ask(|tell| Ask::Submit(submission, tell)).await.map_err(|Unavailable| unavailable())?;
    let id = id.as_str();
    Ok(match answer {
        SubmitAnswer::Queued { agent } => body::json(StatusCode::ACCEPTED, &Submitted { id, agent: &agent }),
        SubmitAnswer::Known { agent } => body::json(StatusCode::OK, &Submitted { id, agent: &agent }),
        SubmitAnswer::Conflict => problem(
            StatusCode::CONFLICT,
            &format!("another task was submitted under the id {id:?}: its content differs"),
        ),
        SubmitAnswer::NotFound(detail) => problem(StatusCode::NOT_FOUND, &detail),
        SubmitAnswer::Full { retry_after } => full(retry_after),
        SubmitAnswer::NoRoom => no_room(),
    })
}

/// The header may be written in quotes, as its draft has it, or without, as most clients do.
fn key(headers: &HeaderMap) -> Result<Option<String>, String> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    Ok(Some(checked("Idempotency-Key", text.to_owned())?))
}

type Fields = BTreeMap<String, Box<RawValue>>;

/// `null` is as good as nothing. Only the id is ours to give, and the attempt.
fn submission(mut fields: Fields, key: Option<String>) -> Result<Submission, String> {
    let text = |name: &str| typed::<String>(&fields, name, "text");
    let to = match (text("agent")?, text("type")?) {
        // `type` beside `agent` is the submitter's own field, as the seed's tasks have it.
        (Some(agent), _) => Addressee::Agent(agent.as_str().into()),
        (None, Some(agent_type)) => Addressee::Type(agent_type.as_str().into()),
        (None, None) => return Err("a task needs an agent or a type".to_owned()),
    };
    let given = match (text("id")?.map(|id| checked("id", id)).transpose()?, key) {
        (Some(id), Some(key)) if id != key => return Err(format!("id is {id:?} and Idempotency-Key is {key:?}")),
        (id, key) => id.or(key),
    };
    let is_fresh = given.is_none();
    let id = given.unwrap_or_else(|| format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)));
    let priority = match text("priority")? {
        Some(priority) => priority.parse().map_err(|error| format!("priority: {error}"))?,
        None => Priority::default(),
    };
    let delay = span(&fields, "delay")?.unwrap_or_default();
    let begin_within = span(&fields, "deadline")?;
    if begin_within.is_some_and(|within| within <= delay) {
        return Err(
            "deadline: a task that may not begin before its deadline cannot begin: it has to be longer than delay \
                    and than nought"
                .to_owned(),
        );
    }
    let attempts_max = attempts(&fields)?;
    let raw = RawValue::from_string(format!("\"{id}\"")).map_err(|error| error.to_string())?;
    fields.insert("id".to_owned(), raw);
    fields.remove("attempt");
    let body = serde_json::to_vec(&fields).map_err(|error| error.to_string())?;
    let task = traffic::Submission {
        priority,
        delay,
        begin_within,
        attempts_max,
        bytes: body.len() as u64,
        ..traffic::Submission::new(TaskId::new(id), to, fastrand::u64(..))
    };
    Ok(Submission { task, is_fresh, body })
}

fn checked(name: &str, id: String) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '~' | '-');
    if !id.is_empty() && id.len() <= ID_MAX && id.chars().all(allowed) {
        Ok(id)
    } else {
        Err(format!("{name}: an id has 1 to {ID_MAX} letters, digits or any of . _ : ~ -"))
    }
}

fn typed<T: DeserializeOwned>(fields: &Fields, name: &str, wanted: &str) -> Result<Option<T>, String> {
    let Some(raw) = fields.get(name) else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|_other| format!("{name} is not {wanted}"))
}

/// Seconds as a number, or a span as the fleet file writes it.
fn span(fields: &Fields, name: &str) -> Result<Option<Millis>, String> {
    let wanted = "a number of seconds, or text such as \"5s\", \"10m\" or \"1h30m\"";
    let span = match typed::<Value>(fields, name, wanted)? {
        None => return Ok(None),
        Some(Value::String(text)) => unit::millis(&text).map_err(|_bad| format!("{name} is {wanted}, not {text:?}"))?,
        Some(Value::Number(secs)) => {
            let secs = secs.as_f64().filter(|secs| *secs >= 0.0);
            let secs = secs.ok_or_else(|| format!("{name} is {wanted}, and not less than nought"))?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates, and is bounded below"
            )]
            Millis((secs * 1000.0).ceil() as u64)
        }
        Some(_) => return Err(format!("{name} is {wanted}")),
    };
    if span > limits::PUT_OFF_MAX {
        return Err(format!("{name} is at most a year"));
    }
    Ok(Some(span))
}

fn attempts(fields: &Fields) -> Result<Option<u32>, String> {
    let most = limits::ATTEMPTS_MAX;
    let wanted = || format!("attempts is a whole number from 1 to {most}");
    let Some(attempts) = typed::<u32>(fields, "attempts", "").map_err(|_other| wanted())? else { return Ok(None) };
    if (1..=most).contains(&attempts) { Ok(Some(attempts)) } else { Err(wanted()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Submission, String> {
        submission(serde_json::from_str(json).unwrap(), None)
    }

    #[test]
    fn fields_pass_as_they_were_written() {
        let it = parsed(
            r#"{"agent":"a","id":"t1","temperature":1.10,"big":12345678901234567890123,"attempt":7,"delay":"1m"}"#,
        )
        .unwrap();
        let body = String::from_utf8(it.body).unwrap();
        assert_eq!(body, r#"{"agent":"a","big":12345678901234567890123,"delay":"1m","id":"t1","temperature":1.10}"#);
        assert_eq!((it.task.to, it.task.bytes), (Addressee::Agent("a".into()), body.len() as u64));
    }

    #[test]
    fn ids_are_made_where_none_is_given_and_never_the_same() {
        let [one, two] = [(); 2].map(|()| parsed(r#"{"type":"worker","id":null}"#).unwrap());
        assert_ne!(one.task.id, two.task.id);
        assert!(one.is_fresh && checked("id", one.task.id.to_string()).is_ok());
        assert_eq!(one.task.to, Addressee::Type("worker".into()));
    }

    #[test]
    fn what_the_queue_reads_is_understood() {
        let task = |json: &str| parsed(json).unwrap().task;
        let plain = task(r#"{"agent":"a","priority":null,"delay":null,"deadline":null,"attempts":null}"#);
        assert_eq!((plain.priority, plain.delay), (Priority::Normal, Millis::ZERO));
        assert_eq!((plain.begin_within, plain.attempts_max), (None, None));
        let urgent = task(r#"{"agent":"a","priority":"critical","delay":0.25,"deadline":"1m30s","attempts":7}"#);
        assert_eq!((urgent.priority, urgent.delay), (Priority::Critical, Millis(250)));
        assert_eq!((urgent.begin_within, urgent.attempts_max), (Some(Millis::from_secs(90)), Some(7)));
    }

    #[test]
    fn the_key_of_the_header_is_the_id() {
        let headers = |value: &'static str| HeaderMap::from_iter([(KEY, value.parse().unwrap())]);
        for (value, id) in [("k-1", "k-1"), ("\"k-1\"", "k-1")] {
            assert_eq!(key(&headers(value)).unwrap().as_deref(), Some(id));
        }
        assert!(key(&headers("a b")).unwrap_err().contains("Idempotency-Key"));
        let both = |json: &str| submission(serde_json::from_str(json).unwrap(), Some("k".to_owned()));
        assert_eq!(both(r#"{"agent":"a"}"#).unwrap().task.id.as_str(), "k");
        assert_eq!(both(r#"{"agent":"a","id":"k"}"#).unwrap().task.id.as_str(), "k");
        assert!(both(r#"{"agent":"a","id":"other"}"#).err().unwrap().contains("Idempotency-Key is \"k\""));
    }

    #[test]
    fn what_cannot_be_a_task_is_said_clearly() {
        for (json, says) in [
            (r#"{"prompt":"x"}"#, "needs an agent or a type"),
            (r#"{"agent":7}"#, "agent is not text"),
            (r#"{"agent":"a","id":"a/b"}"#, "an id has"),
            (r#"{"agent":"a","id":""}"#, "an id has"),
            (r#"{"agent":"a","id":7}"#, "id is not text"),
            (r#"{"agent":"a","priority":"urgent"}"#, "critical, high, normal, low or background, not \"urgent\""),
            (r#"{"agent":"a","priority":1}"#, "priority is not text"),
            (r#"{"agent":"a","delay":"5"}"#, "delay is a number of seconds, or text such as \"5s\""),
            (r#"{"agent":"a","delay":-1}"#, "not less than nought"),
            (r#"{"agent":"a","delay":true}"#, "delay is a number of seconds"),
            (r#"{"agent":"a","delay":1e300}"#, "at most a year"),
            (r#"{"agent":"a","deadline":{}}"#, "deadline is a number of seconds"),
            (r#"{"agent":"a","deadline":0}"#, "longer than delay"),
            (r#"{"agent":"a","deadline":"5s","delay":"5s"}"#, "longer than delay"),
            (r#"{"agent":"a","attempts":0}"#, "from 1 to 100"),
            (r#"{"agent":"a","attempts":101}"#, "from 1 to 100"),
            (r#"{"agent":"a","attempts":1.5}"#, "from 1 to 100"),
            (r#"{"agent":"a","attempts":"3"}"#, "from 1 to 100"),
        ] {
            let error = parsed(json).err().unwrap();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
