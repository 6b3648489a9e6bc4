//! One task as the backend hands it out.

use serde::Deserialize;
use serde_json::{Map, Value};

/// What the submitter gave, with the id and the attempt that the backend added.
#[derive(Clone, Debug, Deserialize)]
pub struct Task {
    /// Given back as it came; backends use strings and numbers.
    pub id: Value,
    #[serde(default)]
    pub attempt: Option<u64>,
    /// Everything else.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Task {
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
    }
}
