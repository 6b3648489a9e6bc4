//! Whether a result carries anything (R91).

use serde_json::Value;

/// Fields in which agents put what they were asked for. Where one is there, it alone decides: an object that
/// names its model beside an empty answer carries nothing.
const ANSWERS: [&str; 7] = ["response", "result", "output", "answer", "content", "text", "message"];

/// True of nothing, blank text, and containers of only that.
pub fn carries_nothing(result: &Value) -> bool {
    match result {
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.iter().all(carries_nothing),
        Value::Object(fields) => {
            let mut answers = ANSWERS.iter().filter_map(|name| fields.get(*name)).peekable();
            if answers.peek().is_some() { answers.all(carries_nothing) } else { fields.values().all(carries_nothing) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn swallowed_errors_are_seen_as_nothing() {
        for nothing in [json!(null), json!(""), json!(" \n"), json!([]), json!({}), json!({"response": ""})] {
            assert!(carries_nothing(&nothing), "{nothing}");
        }
        assert!(carries_nothing(&json!({"response": "", "model": "tinyllama", "tokens": 0})));
    }

    #[test]
    fn short_answers_are_answers() {
        for something in [json!("0"), json!(0), json!(false), json!({"label": "spam"}), json!({"response": "."})] {
            assert!(!carries_nothing(&something), "{something}");
        }
    }
}
