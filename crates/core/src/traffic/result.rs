//! Whether a result carries what it must (R91).

use serde_json::Value;

use crate::spec::ResultRule;

/// Fields in which agents put what they were asked for. Where one is there, it alone decides: an object that
/// names its model beside an empty answer carries nothing.
const ANSWERS: [&str; 7] = ["response", "result", "output", "answer", "content", "text", "message"];

/// True of a result that lacks a field that the rule names, or has it empty, or holds less text than the rule asks
/// for. Without named fields, of one that carries nothing at all.
pub fn falls_short(result: &Value, rule: &ResultRule) -> bool {
    let is_bare = if rule.fields.is_empty() {
        !rule.may_be_empty && carries_nothing(result)
    } else {
        rule.fields.iter().any(|field| result.get(field).is_none_or(carries_nothing))
    };
    is_bare || chars(result) < u64::from(rule.chars_min)
}

/// True of nothing, blank text, and containers of only that.
fn carries_nothing(result: &Value) -> bool {
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

/// All text in it, less what is blank at the ends of each piece. Names of fields are no text.
fn chars(result: &Value) -> u64 {
    match result {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.trim().chars().count() as u64,
        Value::Array(items) => items.iter().map(chars).sum(),
        Value::Object(fields) => fields.values().map(chars).sum(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(fields: &[&str], chars_min: u32) -> ResultRule {
        ResultRule { may_be_empty: false, fields: fields.iter().map(|&field| field.to_owned()).collect(), chars_min }
    }

    #[test]
    fn swallowed_errors_are_seen_as_nothing() {
        let any = rule(&[], 0);
        for nothing in [json!(null), json!(""), json!(" \n"), json!([]), json!({}), json!({"response": ""})] {
            assert!(falls_short(&nothing, &any), "{nothing}");
        }
        assert!(falls_short(&json!({"response": "", "model": "tinyllama", "tokens": 0}), &any));
    }

    #[test]
    fn where_nothing_is_an_answer_it_is_one() {
        let work = ResultRule { may_be_empty: true, ..ResultRule::default() };
        assert!(!falls_short(&json!(null), &work) && !falls_short(&json!({"response": ""}), &work));
        let named = ResultRule { may_be_empty: true, ..rule(&["id"], 0) };
        assert!(falls_short(&json!(null), &named), "a field that is named must be there");
    }

    #[test]
    fn short_answers_are_answers() {
        let any = rule(&[], 0);
        for something in [json!("0"), json!(0), json!(false), json!({"label": "spam"}), json!({"response": "."})] {
            assert!(!falls_short(&something, &any), "{something}");
        }
    }

    #[test]
    fn each_named_field_must_be_there_and_carry_something() {
        let both = rule(&["summary", "score"], 0);
        assert!(
            !falls_short(&json!({"summary": "fine", "score": 0, "response": ""}), &both),
            "the others may be empty"
        );
        for short in [
            json!({"summary": "fine"}),
            json!({"summary": " ", "score": 1}),
            json!({"summary": {"text": ""}, "score": 1}),
            json!({"inner": {"summary": "fine", "score": 1}}),
            json!("summary and score"),
            json!(null),
        ] {
            assert!(falls_short(&short, &both), "{short}");
        }
    }

    #[test]
    fn text_is_counted_in_characters_wherever_it_is() {
        let long = rule(&[], 10);
        assert!(!falls_short(&json!("zwölf Zeichen"), &long));
        assert!(!falls_short(&json!({"parts": ["fünf!", {"more": "fünf!"}], "n": 123_456}), &long));
        assert!(falls_short(&json!({"a_name_of_a_field": "short", "pad": "          "}), &long));
        assert!(falls_short(&json!(1_234_567_890_123_u64), &long), "a number is no text");
        let named = rule(&["verdict"], 10);
        assert!(falls_short(&json!({"verdict": "yes"}), &named));
        assert!(!falls_short(&json!({"verdict": "yes", "reason": "because"}), &named));
    }
}
