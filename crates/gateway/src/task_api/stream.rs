//! Server-sent events, as the HTML standard has them.
//!
//! A stream takes one of the places of those who wait. It asks for the next event when the one before was taken, so
//! that a slow reader costs no memory, and it ends with its reader, or when the gateway stops or gives way
//! to another.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    StatusCode,
    body::Frame,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{body::Response, door::Door, limits};

/// Where the events of a stream come from.
pub(super) trait Source: Send + 'static {
    /// None at the end. Asked again where the one before was dropped, and loses nothing by it.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

pub(super) fn events(door: &Door, place: OwnedSemaphorePermit, source: impl Source) -> Response {
    let stream = Stream { source, stop: door.gate.parting(), began: false, _place: place };
    let pieces = unfold(stream, |mut stream| async {
        let piece = stream.piece().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), stream))
    });
    let mut response = Response::new(StreamBody::new(pieces).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct Stream<S> {
    source: S,
    stop: CancellationToken,
    began: bool,
    _place: OwnedSemaphorePermit,
}

impl<S: Source> Stream<S> {
    async fn piece(&mut self) -> Option<Bytes> {
        if !self.began {
            self.began = true;
            return Some(Bytes::from(format!("retry: {}\n\n", limits::STREAM_RETRY.as_millis())));
        }
        tokio::select! {
            piece = timeout(limits::STREAM_QUIET, self.source.next()) => {
                // A comment is skipped by who reads events.
                piece.unwrap_or_else(|_quiet| Some(Bytes::from_static(b":\n\n")))
            }
            () = self.stop.cancelled() => None,
        }
    }
}

/// One event. `id` is what a reader that comes back says it has read.
pub(super) fn event(name: Option<&str>, id: Option<u64>, data: &impl Serialize) -> String {
    let mut text = String::new();
    if let Some(name) = name {
        text.push_str(&format!("event: {name}\n"));
    }
    if let Some(id) = id {
        text.push_str(&format!("id: {id}\n"));
    }
    let data = serde_json::to_string(data).unwrap_or_else(|error| {
        tracing::error!(%error, "an event could not be written as JSON");
        "null".to_owned()
    });
    // An agent's result is as the agent wrote it, and may have line breaks between its parts.
    for line in data.split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn no_line_of_an_event_is_without_its_name() {
        let raw = RawValue::from_string("{\"a\":\r\n[1,\n\"x\\n\"]}".to_owned()).unwrap();
        let text = event(Some("end"), Some(7), &raw);
        let expected = "event: end\nid: 7\ndata: {\"a\":\ndata: \ndata: [1,\ndata: \"x\\n\"]}\n\n";
        assert_eq!(text, expected);
    }
}
