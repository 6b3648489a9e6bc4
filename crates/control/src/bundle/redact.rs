//! Takes values of environment variables out of what is written: secrets come to agents in them.

use serde::Serialize;
use serde_json::Value;

const TAKEN_OUT: &str = "(not written)";

/// The JSON form of `value` in which no environment variable has its value.
pub(super) fn without_env(value: &impl Serialize) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(value)?;
    take_out(&mut value);
    Ok(value)
}

fn take_out(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::Object(variables) if name == "env" => {
                        variables.values_mut().for_each(|value| *value = TAKEN_OUT.into());
                    }
                    other => take_out(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(take_out),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_variables_are_taken_out_at_any_depth_and_names_stay() {
        let event = json!({"plan": {"revisions": {"r1": {"env": {"API_KEY": "hunter2", "N": "1"}, "model": "m"}}},
            "list": [{"env": {"TOKEN": "t0p"}}]});
        let text = without_env(&event).unwrap().to_string();
        assert!(!text.contains("hunter2") && !text.contains("t0p"), "{text}");
        assert!(text.contains("API_KEY") && text.contains("\"model\":\"m\""), "{text}");
    }
}
