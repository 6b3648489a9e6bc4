//! What an instance answered to a task that was brought to it.

use std::collections::BTreeMap;

use bellwether_core::{
    spec::ResultRule,
    traffic::{Report, Told},
};
use hyper::StatusCode;
use serde_json::value::RawValue;

use crate::{agent_api::judged, desk::Account, limits};

/// Characters of an answer that is no JSON, told as the error.
const SAID_CHARS: usize = 1000;
/// Where servers say what went wrong.
const ERRORS: [&str; 4] = ["error", "detail", "message", "result"];

type Fields = BTreeMap<String, Box<RawValue>>;

pub(super) fn account(status: StatusCode, body: &[u8], rule: &ResultRule) -> Account {
    let fields: Option<Fields> = serde_json::from_slice(body).ok();
    let field = |name: &str| fields.as_ref()?.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null");
    let said: Option<String> = field("status").and_then(|raw| serde_json::from_str(raw).ok());
    let is_done =
        said.as_deref().is_some_and(|it| ["success", "completed", "ok"].contains(&it.to_lowercase().as_str()));
    if status.is_success() && is_done {
        let result = field("result");
        let told = Told { report: judged(result, rule), attempt: None, for_good: false };
        return Account {
            told,
            result: result.map(|raw| raw.as_bytes().to_vec()).unwrap_or_default(),
            checkpoint: None,
            letter: None,
        };
    }
    let no_retry = field("retry") == Some("false");
    let mends = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    let refused = status.is_client_error() && !mends;
    let result = match ERRORS.into_iter().find_map(field) {
        Some(error) => error.as_bytes().to_vec(),
        None if fields.is_some() && status.is_success() => match said {
            Some(said) => text(&format!("the instance answered with the status {said:?}")),
            None => text("the instance answered without a status"),
        },
        None => {
            let body: String = String::from_utf8_lossy(body).chars().take(SAID_CHARS).collect();
            text(&format!("the instance answered {status}: {body}"))
        }
    };
    let checkpoint = field("checkpoint").filter(|raw| raw.len() <= limits::CHECKPOINT_BYTES);
    Account { checkpoint: checkpoint.map(|raw| raw.as_bytes().to_vec()), ..failed(result, no_retry || refused) }
}

/// There was no answer that could be read.
pub(super) fn broken(why: &str) -> Account {
    failed(text(why), false)
}

fn failed(result: Vec<u8>, for_good: bool) -> Account {
    Account { told: Told { report: Report::Failed, attempt: None, for_good }, result, checkpoint: None, letter: None }
}

fn text(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> (Report, bool, String) {
        let account = account(StatusCode::from_u16(status).unwrap(), body.as_bytes(), &ResultRule::default());
        (account.told.report, account.told.for_good, String::from_utf8(account.result).unwrap())
    }

    #[test]
    fn a_success_in_any_of_its_words_is_one_if_it_carries_something() {
        for word in ["success", "completed", "ok", "OK", "Success"] {
            let (report, _, result) = told(200, &format!(r#"{{"status":"{word}","result":{{"n":1.10}}}}"#));
            assert_eq!((report, result.as_str()), (Report::Completed { empty: false }, r#"{"n":1.10}"#));
        }
        assert_eq!(told(200, r#"{"status":"success","result":""}"#).0, Report::Completed { empty: true });
        assert_eq!(told(200, r#"{"status":"success"}"#).0, Report::Completed { empty: true });
    }

    #[test]
    fn all_else_is_a_failure_that_says_why() {
        let failed = |status, body, for_good: bool, says: &str| {
            let (report, is_for_good, result) = told(status, body);
            assert_eq!((report, is_for_good), (Report::Failed, for_good), "{status} {body}");
            assert!(result.contains(says), "{status} {body}: {result}");
        };
        failed(200, r#"{"status":"error","error":"no model"}"#, false, "no model");
        failed(200, r#"{"status":"error","error":"no model","retry":false}"#, true, "no model");
        failed(200, r#"{"result":"fine"}"#, false, "fine");
        failed(200, r#"{"status":"busy"}"#, false, "busy");
        failed(200, "fine", false, "fine");
        failed(500, r#"{"status":"success","result":"x"}"#, false, "x");
        failed(422, r#"{"detail":[{"loc":["task"]}]}"#, true, "loc");
        failed(408, "", false, "408");
        failed(429, "slow down", false, "slow down");
        failed(307, "", false, "307");
    }
}
