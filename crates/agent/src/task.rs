//! One task as the backend hands it out.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{handler::TaskError, progress::Progress};

/// What the submitter gave, with the id and the attempt that the backend added.
#[derive(Clone, Debug, Deserialize)]
pub struct Task {
    /// Given back as it came; backends use strings and numbers.
    pub id: Value,
    #[serde(default)]
    pub attempt: Option<u64>,
    /// What an earlier attempt kept with [`Task::save`].
    #[serde(default)]
    pub checkpoint: Option<Value>,
    /// Everything else.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
    /// None for a task that no backend waits for.
    #[serde(skip)]
    pub(crate) progress: Option<Arc<Progress>>,
}

impl Task {
    /// A task of this prompt alone, that no backend knows of.
    pub fn of_prompt(id: impl Into<Value>, prompt: impl Into<String>) -> Self {
        let fields = Map::from_iter([("prompt".to_owned(), Value::String(prompt.into()))]);
        Self { id: id.into(), attempt: None, checkpoint: None, fields, progress: None }
    }

    /// The id as text, for headers and logs.
    pub fn id_text(&self) -> String {
        match &self.id {
            Value::String(id) => id.clone(),
            other => other.to_string(),
        }
    }

    /// The text for the model: the prompt, or else the payload as it stands.
    pub fn prompt(&self) -> Option<String> {
        let payload = || match self.fields.get("payload")? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        self.fields.get("prompt").and_then(Value::as_str).map(str::to_owned).or_else(payload)
    }

    /// Tells how far the task is. That renews its lease, and should this attempt come to nothing, the next one finds
    /// the last checkpoint in [`Task::checkpoint`]. May be called as often as there is something new: it is sent once a
    /// second at most, and for the last time when the attempt is given up.
    ///
    /// An error says that the task is somebody else's by now, or that the checkpoint is too large; the first is best
    /// passed on with `?`. A backend that cannot be reached is no error.
    pub async fn save(&self, checkpoint: impl Into<Value>) -> Result<(), TaskError> {
        match &self.progress {
            Some(progress) => progress.save(checkpoint.into()).await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_found_where_submitters_put_it() {
        let prompt = |json: &str| serde_json::from_str::<Task>(json).unwrap().prompt();
        assert_eq!(prompt(r#"{"id":1,"prompt":"p","payload":"q"}"#).as_deref(), Some("p"));
        assert_eq!(prompt(r#"{"id":"a","payload":"q"}"#).as_deref(), Some("q"));
        assert_eq!(prompt(r#"{"id":"a","payload":{"x":1}}"#).as_deref(), Some(r#"{"x":1}"#));
        assert_eq!(prompt(r#"{"id":"a","type":"t"}"#), None);
        assert_eq!(Task::of_prompt(1, "p").prompt().as_deref(), Some("p"));
    }
}
