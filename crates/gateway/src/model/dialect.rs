//! The two dialects of the model server's API, as far as the gateway itself speaks them: refusals, failures,
//! and the last line of a stream that broke off.

use bellwether_core::{
    inference::{Bound, NotPermitted, Refused},
    time::Millis,
};
use bytes::Bytes;
use hyper::{
    StatusCode,
    header::{HeaderValue, RETRY_AFTER},
};
use serde_json::{Value, json};

use crate::body::{self, Response};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `/api/…`: newline-delimited JSON.
    Native,
    /// `/v1/…`: server-sent events.
    OpenAi,
}

impl Dialect {
    pub(super) fn answer(self, status: StatusCode, message: &str) -> Response {
        body::json(status, &self.error(message, kind(status)))
    }

    /// An agent's own bound is the agent's affair (429), the common one is the server being busy (503).
    pub(super) fn refused(self, refused: Refused) -> Response {
        let (status, message) = match refused.bound {
            Bound::Agent => {
                (StatusCode::TOO_MANY_REQUESTS, "too many model calls of this agent wait, please try again later")
            }
            Bound::Total => (StatusCode::SERVICE_UNAVAILABLE, "server busy, please try again later"),
        };
        self.retry_after(status, message, refused.retry_after)
    }

    /// The agent's breaker is open.
    pub(super) fn not_permitted(self, refused: NotPermitted) -> Response {
        self.retry_after(StatusCode::SERVICE_UNAVAILABLE, &refused.to_string(), refused.retry_after)
    }

    /// No model server can be called.
    pub(super) fn no_server(self, after: Millis) -> Response {
        self.retry_after(StatusCode::SERVICE_UNAVAILABLE, "the model server cannot be reached", after)
    }

    /// The caller's own patience is over before the call has begun.
    pub(super) fn waited_too_long(self, after: Millis) -> Response {
        self.retry_after(StatusCode::SERVICE_UNAVAILABLE, "server busy: the wait that was asked for is over", after)
    }

    fn retry_after(self, status: StatusCode, message: &str, after: Millis) -> Response {
        let mut response = self.answer(status, message);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.0.div_ceil(1000)));
        response
    }

    /// What ends a stream that the model server broke off. `mid_line`: the last byte sent was not a line's end.
    pub(super) fn last_words(self, message: &str, mid_line: bool) -> Bytes {
        let error = self.error(message, "api_error");
        let text = match self {
            Self::Native => format!("{}{error}\n", if mid_line { "\n" } else { "" }),
            // Ends an event that was begun; between events it is nothing.
            Self::OpenAi => format!("\n\ndata: {error}\n\n"),
        };
        Bytes::from(text)
    }

    fn error(self, message: &str, kind: &str) -> Value {
        match self {
            Self::Native => json!({"error": message}),
            Self::OpenAi => json!({"error": {"message": message, "type": kind, "param": null, "code": null}}),
        }
    }
}

fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        _ if status.is_client_error() => "invalid_request_error",
        _ => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_stream_ends_with_a_line_of_its_own() {
        assert_eq!(Dialect::Native.last_words("gone", false), "{\"error\":\"gone\"}\n");
        assert_eq!(Dialect::Native.last_words("gone", true), "\n{\"error\":\"gone\"}\n");
        let event = Dialect::OpenAi.last_words("gone", true);
        assert!(event.starts_with(b"\n\ndata: {\"error\":{"), "{event:?}");
        assert!(event.ends_with(b"}\n\n"));
    }
}
