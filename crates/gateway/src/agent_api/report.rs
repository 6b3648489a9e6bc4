//! What an agent says of a task: how it gets on, and how it ended.
//!
//! Read field by field, so that a refusal names the one that is wrong. Fields that are not named here, time stamps
//! among them, are whatever the agent likes.

use std::collections::BTreeMap;

use bellwether_core::{
    spec::ResultRule,
    traffic::{Completion, Report, TaskId, Told, falls_short},
};
use hyper::{HeaderMap, StatusCode};
use serde_json::value::RawValue;

use super::{Asked, Word, asking::ATTEMPT};
use crate::{
    body::{self, Response},
    desk::{Account, Ask},
    intake, limits,
    problem::{problem, unavailable},
    store::Letter,
};

pub(super) struct Said {
    fields: BTreeMap<String, Box<RawValue>>,
    /// Of which attempt it is.
    pub(super) attempt: Option<u32>,
}

impl Said {
    pub(super) fn of(headers: &HeaderMap, body: &[u8]) -> Result<Self, Response> {
        let mut said = Self { fields: intake::parse(body)?, attempt: None };
        said.attempt = match said.get("attempt") {
            Some(raw) => Some(attempt(raw).ok_or_else(|| bad("attempt is not a number from 1 on"))?),
            None => match headers.get(ATTEMPT) {
                Some(value) => Some(
                    value
                        .to_str()
                        .ok()
                        .and_then(attempt)
                        .ok_or_else(|| bad("X-Bellwether-Attempt is not a number from 1 on"))?,
                ),
                None => None,
            },
        };
        Ok(said)
    }

    /// Backends give ids as text or as numbers, and so do agents.
    pub(super) fn id(&self, name: &str) -> Result<Option<TaskId>, Response> {
        self.get(name)
            .map(|raw| id(raw).ok_or_else(|| bad(&format!("{name} is neither text nor a number"))))
            .transpose()
    }

    pub(super) fn task_id(&self) -> Result<TaskId, Response> {
        self.id("task_id")?.ok_or_else(|| bad("task_id is missing"))
    }

    pub(super) fn status(&self) -> Result<String, Response> {
        let raw = self.get("status").ok_or_else(|| bad("status is missing"))?;
        serde_json::from_str(raw).map_err(|_other| bad("status is not text"))
    }

    pub(super) fn checkpoint(&self) -> Result<Option<Vec<u8>>, Response> {
        let Some(raw) = self.get("checkpoint") else { return Ok(None) };
        if raw.len() > limits::CHECKPOINT_BYTES {
            let detail = format!("the checkpoint is larger than {} bytes", limits::CHECKPOINT_BYTES);
            return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, &detail));
        }
        Ok(Some(raw.as_bytes().to_vec()))
    }

    /// The end of a task; none if the status says otherwise.
    pub(super) fn account(&self, status: &str, rule: &ResultRule) -> Result<Option<Account>, Response> {
        let (report, result) = match status {
            "completed" => {
                let result = self.get("result");
                (judged(result, rule), result)
            }
            "failed" => (Report::Failed, self.get("error").or(self.get("result"))),
            _ => return Ok(None),
        };
        let retry: Option<bool> = self
            .get("retry")
            .map(|raw| serde_json::from_str(raw).map_err(|_other| bad("retry is neither true nor false")))
            .transpose()?;
        let told = Told { report, attempt: self.attempt, for_good: retry == Some(false) };
        let result = result.map(|raw| raw.as_bytes().to_vec()).unwrap_or_default();
        Ok(Some(Account { told, result, checkpoint: self.checkpoint()?, letter: None }))
    }

    /// A field that is there and says something.
    fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null")
    }
}

/// A task that is said to be done.
pub(crate) fn judged(result: Option<&str>, rule: &ResultRule) -> Report {
    // Whatever can be parsed as raw JSON can be parsed as a value, nesting apart.
    let empty = serde_json::from_str(result.unwrap_or("null")).is_ok_and(|value| falls_short(&value, rule));
    Report::Completed { empty }
}

/// Tells the machine, and the agent what became of it.
pub(super) async fn tell(
    asked: Asked<'_>,
    id: TaskId,
    account: Account,
    letter: Option<Letter>,
) -> Result<Response, Response> {
    let by = asked.target.card.instance;
    let account = Box::new(Account { letter, ..account });
    let completion =
        asked.door.desk.ask(|tell| Ask::Complete { id, by, account, tell }).await.map_err(|_gone| unavailable())?;
    Ok(match completion {
        Completion::Retried => body::json(StatusCode::OK, &Word { status: "retried" }),
        Completion::Accepted { .. } | Completion::TriedOut => body::json(StatusCode::OK, &Word { status: "accepted" }),
        Completion::Repeated => body::json(StatusCode::OK, &Word { status: "repeated" }),
        Completion::Conflict => conflict(),
        Completion::Unknown => unknown(),
    })
}

pub(super) fn conflict() -> Response {
    problem(StatusCode::CONFLICT, "the lease of this task is not, or no longer, this instance's")
}

pub(super) fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "no task has this id")
}

pub(super) fn bad(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, detail)
}

/// Of a JSON text, or of a number as it is written.
pub(crate) fn id(raw: &str) -> Option<TaskId> {
    if raw.starts_with('"') {
        return serde_json::from_str::<String>(raw).ok().map(TaskId::new);
    }
    raw.starts_with(|c: char| c.is_ascii_digit() || c == '-').then(|| TaskId::new(raw))
}

/// Some languages write every number with a point.
fn attempt(text: &str) -> Option<u32> {
    let text = text.trim();
    text.strip_suffix(".0").unwrap_or(text).parse().ok().filter(|attempt| *attempt > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_text_or_numbers_as_they_are_written() {
        let id = |raw| id(raw).map(|id| id.to_string());
        assert_eq!((id(r#""t1""#).as_deref(), id("17").as_deref()), (Some("t1"), Some("17")));
        assert_eq!((id("[1]"), id("true"), id("{}")), (None, None, None));
    }

    #[test]
    fn attempts_are_whole_and_counted_from_one() {
        assert_eq!((attempt("2"), attempt("2.0")), (Some(2), Some(2)));
        for wrong in ["0", "-1", "1.5", "\"1\"", "true", "99999999999"] {
            assert_eq!(attempt(wrong), None, "{wrong}");
        }
    }
}
