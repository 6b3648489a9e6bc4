//! What a backend gives when it is asked for tasks: one of them, or a list, or nothing.

use std::collections::BTreeMap;

use bellwether_core::traffic::{TaskId, Traffic};
use serde_json::value::RawValue;

use crate::agent_api::id_of;

type Fields = BTreeMap<String, Box<RawValue>>;

const ID_MAX: usize = 200;

/// The tasks with their ids, each as it will be handed out, less its attempt.
pub(super) fn tasks(answer: &[u8]) -> Result<Vec<(TaskId, Vec<u8>)>, String> {
    let answer = answer.trim_ascii();
    if answer.is_empty() || answer == b"null" {
        return Ok(Vec::new());
    }
    let fields: Fields = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    match fields.get("tasks") {
        Some(list) if !fields.contains_key("id") => {
            let list: Vec<Fields> = serde_json::from_str(list.get()).map_err(|error| error.to_string())?;
            list.into_iter().map(task).collect()
        }
        _ => Ok(vec![task(fields)?]),
    }
}

fn task(mut fields: Fields) -> Result<(TaskId, Vec<u8>), String> {
    let raw = fields.get("id").or_else(|| fields.get("task_id")).ok_or("a task without an id")?;
    let id = id_of(raw.get()).ok_or("an id that is neither text nor a number")?;
    if id.as_str().is_empty() || id.as_str().len() > ID_MAX || Traffic::is_try_out(&id) {
        return Err(format!("the id {:?}, which has not 1 to {ID_MAX} bytes or is one of ours", id.as_str()));
    }
    fields.remove("attempt");
    let body = serde_json::to_vec(&fields).map_err(|error| error.to_string())?;
    Ok((id, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(answer: &str) -> Vec<(String, String)> {
        let text = |(id, body): (TaskId, Vec<u8>)| (id.to_string(), String::from_utf8(body).unwrap());
        tasks(answer.as_bytes()).unwrap().into_iter().map(text).collect()
    }

    #[test]
    fn one_task_a_list_of_them_or_none() {
        let one = || ("17".to_owned(), r#"{"id":17,"p":1.10}"#.to_owned());
        let other = ("t2".to_owned(), r#"{"task_id":"t2"}"#.to_owned());
        assert_eq!(given(r#"{"p":1.10,"id":17,"attempt":4}"#), [one()]);
        assert_eq!(given(r#"{"tasks":[{"id":17,"p":1.10},{"task_id":"t2"}]}"#), [one(), other]);
        for nothing in ["", " \n", "null", "{}", r#"{"tasks":[]}"#] {
            assert_eq!(given(nothing), [], "{nothing:?}");
        }
    }

    #[test]
    fn what_cannot_be_fenced_is_refused() {
        for wrong in ["[]", "7", r#"{"prompt":"x"}"#, r#"{"id":[1]}"#, r#"{"id":""}"#, r#"{"id":"try-out@1-1"}"#, "{"] {
            assert!(tasks(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
