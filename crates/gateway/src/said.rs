//! What an agent said of a failure, as text for people.

use serde_json::Value;

/// A JSON text as it is meant, anything else as it is written; cut behind so many characters.
pub(crate) fn text(json: &[u8], chars_max: usize) -> String {
    let json = String::from_utf8_lossy(json);
    let said = match serde_json::from_str(&json) {
        Ok(Value::String(text)) => text,
        Ok(_) | Err(_) => json.into_owned(),
    };
    match said.char_indices().nth(chars_max) {
        Some((end, _)) => said[..end].to_owned(),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_without_quotes_and_all_else_as_it_is() {
        let cases =
            [(r#""out of \"memory\"""#, r#"out of "memory""#), (r#"{"code": 1.10}"#, r#"{"code": 1.10}"#), ("x", "x")];
        for (json, told) in cases {
            assert_eq!(text(json.as_bytes(), 100), told);
        }
        assert_eq!(text("\"ääää\"".as_bytes(), 2), "ää");
    }
}
