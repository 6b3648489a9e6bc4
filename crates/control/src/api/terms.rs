//! On which terms a request is made: what its sender saw (`If-Match`, `expect`), and the key under which it may be
//! repeated (`Idempotency-Key`).

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use bellwether_core::rollout::{Once, Position};
use serde::Serialize;

use super::problem::problem;

const KEY: &str = "idempotency-key";

/// As it stands in `ETag`.
pub(super) fn tag(position: &Position) -> String {
    format!("\"{position}\"")
}

/// The position that whoever asks has seen, by header or by body.
pub(super) fn expected(headers: &HeaderMap, body: Option<&str>) -> Result<Option<Position>, Response> {
    let header = match text(headers, header::IF_MATCH.as_str())? {
        None | Some("*") => None,
        Some(tag) => match tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) {
            Some(position) => Some(position),
            None => {
                return Err(bad("If-Match is not one ETag of a rollout; hand back what `GET` gave, quotes included"));
            }
        },
    };
    match (header, body) {
        (Some(header), Some(body)) if header != body => {
            Err(bad("If-Match and `expect` name different positions; send one of them"))
        }
        (given, other) => given.or(other).map(str::parse).transpose().map_err(|error| bad(&format!("{error}"))),
    }
}

/// The key of the request, if it has one. `asked` is all that makes two requests the same.
pub(super) fn once(headers: &HeaderMap, asked: &impl Serialize) -> Result<Option<Once>, Response> {
    let Some(key) = text(headers, KEY)? else { return Ok(None) };
    Once::new(key, asked).map(Some).map_err(|error| bad(&error.to_string()))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Response> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_binary| bad(&format!("the header {name} is not text")))?;
            Ok(Some(text.trim()))
        }
        (Some(_), Some(_)) => Err(bad(&format!("the header {name} was sent twice"))),
    }
}

fn bad(why: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, why, &[])
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const SEEN: &str = "3/completed/9/0/0";

    fn position(pairs: &[(&str, &str)], body: Option<&str>) -> Result<Option<String>, u16> {
        let found = expected(&headers(pairs), body);
        found.map(|position| position.map(|p| p.to_string())).map_err(|response| response.status().as_u16())
    }

    #[test]
    fn what_was_seen_comes_by_header_or_by_body() {
        let quoted = format!("\"{SEEN}\"");
        assert_eq!(position(&[], None), Ok(None));
        assert_eq!(position(&[("if-match", "*")], None), Ok(None));
        for found in [
            position(&[("if-match", &quoted)], None),
            position(&[], Some(SEEN)),
            position(&[("if-match", &quoted)], Some(SEEN)),
        ] {
            assert_eq!(found, Ok(Some(SEEN.to_owned())));
        }
    }

    #[test]
    fn what_is_no_position_is_refused_and_not_ignored() {
        let quoted = format!("\"{SEEN}\"");
        for wrong in [
            position(&[("if-match", SEEN)], None),
            position(&[("if-match", "\"x\"")], None),
            position(&[("if-match", &format!("W/{quoted}"))], None),
            position(&[("if-match", &quoted), ("if-match", &quoted)], None),
            position(&[("if-match", &quoted)], Some("3/completed/10/0/0")),
            position(&[], Some("x")),
        ] {
            assert_eq!(wrong, Err(400));
        }
    }

    #[test]
    fn a_key_is_taken_from_its_header() {
        assert!(once(&headers(&[]), &"pause").unwrap().is_none());
        let key = once(&headers(&[("Idempotency-Key", "k-1")]), &"pause").unwrap().unwrap();
        assert_eq!(key.key(), "k-1");
        assert!(once(&headers(&[("Idempotency-Key", "k 1")]), &"pause").is_err());
    }
}
