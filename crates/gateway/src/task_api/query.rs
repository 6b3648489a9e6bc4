//! What a request says beside its body: parameters, and how long its sender would wait.

use std::{str::FromStr, time::Duration};

use hyper::{StatusCode, header::ACCEPT};

use crate::{
    body::{Request, Response},
    limits, prefer,
    problem::problem,
};

/// Of several of one name the first counts.
pub(super) fn text(request: &Request, name: &str) -> Result<Option<String>, Response> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((_, value)) = pairs.find(|(key, _)| *key == name) else { return Ok(None) };
    match decoded(value) {
        Some(value) => Ok(Some(value)),
        None => Err(problem(StatusCode::BAD_REQUEST, &format!("{name} is not well escaped"))),
    }
}

pub(super) fn number<T: FromStr>(request: &Request, name: &str) -> Result<Option<T>, Response> {
    let Some(value) = text(request, name)? else { return Ok(None) };
    value.parse().map(Some).map_err(|_error| problem(StatusCode::BAD_REQUEST, &format!("{name} is a whole number")))
}

/// `wait_ms=N`, or `Prefer: wait=SECONDS` (RFC 7240); no longer than anybody may.
pub(super) fn wait(request: &Request) -> Result<Duration, Response> {
    let millis = number(request, "wait_ms")?.or_else(|| prefer::wait(request.headers()).map(|wait| wait.0));
    Ok(Duration::from_millis(millis.unwrap_or_default()).min(limits::LONG_POLL))
}

/// Whether the sender asks for a stream of events.
pub(super) fn wants_events(request: &Request) -> bool {
    let values = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = values.flat_map(|value| value.split(',')).filter_map(|kind| kind.split(';').next());
    kinds.any(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Without its percent escapes (RFC 3986); none if they are no escapes or not of UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_taken_for_what_they_stand_for() {
        for (text, meant) in [("a.b", Some("a.b")), ("a%3Ab%7E", Some("a:b~")), ("%C3%BC", Some("ü")), ("", Some(""))]
        {
            assert_eq!(decoded(text).as_deref(), meant, "{text}");
        }
        for text in ["%", "a%4", "%+1", "%zz", "%C3", "%é"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
