//! An answer's way from the model server to the caller, chunk by chunk and unchanged.
//!
//! What it says of itself is heard before its last chunk is handed on: whoever has the whole answer may act on
//! it at once, and must find everything accounted for.

use std::time::{Duration, Instant};

use bellwether_core::inference::CallEnd;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    StatusCode,
    body::{Body as _, Incoming},
    header::CONTENT_LENGTH,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    dialect::Dialect,
    exchange::{Outcome, Passed, give_up},
    inbound::remove_hop_by_hop,
    relay::{Chunk, relay},
    upstream::{Connection, Upstream},
    watch::{Figures, Form, Watch},
};
use crate::body::{BoxError, Response};

/// A caller that takes nothing for so long has left: a slot is not a parking space.
const STALL_LIMIT: Duration = Duration::from_secs(30);

const CUT: &str = "the model server broke the answer off";

pub(super) struct Carriage<'a> {
    /// None if the caller had left before the head came.
    chunks: Option<mpsc::Sender<Chunk>>,
    watch: Watch,
    heard: &'a dyn Fn(Figures),
    told: bool,
    status: StatusCode,
    /// The length was told beforehand, so nothing can be added.
    sized: bool,
    started: Instant,
    first_byte: Option<Duration>,
}

enum End {
    Over,
    Broken(hyper::Error),
    Left,
}

impl<'a> Carriage<'a> {
    /// Gives the head to the caller.
    pub(super) fn new(
        response: hyper::Response<Incoming>,
        answer: oneshot::Sender<Response>,
        started: Instant,
        heard: &'a dyn Fn(Figures),
    ) -> (Self, Incoming) {
        let (mut head, body) = response.into_parts();
        let status = head.status;
        let sized = head.headers.contains_key(CONTENT_LENGTH);
        let watch = Watch::new(Form::of(&head.headers));
        remove_hop_by_hop(&mut head.headers);
        let (chunks, relayed) = relay();
        let chunks = answer.send(Response::from_parts(head, relayed)).is_ok().then_some(chunks);
        (Self { chunks, watch, heard, told: false, status, sized, started, first_byte: None }, body)
    }

    /// Carries the body and returns when the server is done with it.
    pub(super) async fn run(
        mut self,
        mut body: Incoming,
        upstream: &Upstream,
        connection: Connection,
        dialect: Dialect,
    ) -> Passed {
        let end = self.copy(&mut body).await;
        drop(body);
        let service = self.started.elapsed();
        let mid_line = self.watch.is_mid_line();
        if matches!(end, End::Over) {
            self.watch.end();
            self.tell_figures();
        }
        let outcome = match &end {
            _ if self.status.is_success() && self.watch.is_complete() => Outcome::Succeeded,
            End::Left => Outcome::Cancelled,
            End::Over | End::Broken(_) => Outcome::Failed,
        };
        let last_words = self.wants_last_words(outcome).then(|| dialect.last_words(CUT, mid_line));
        let (last, reusable) = match (end, last_words) {
            (End::Left, _) => (None, false),
            (End::Over, last_words) => (last_words.map(Ok), true),
            (End::Broken(error), last_words) if outcome == Outcome::Failed => {
                tracing::warn!(%error, "an answer broke off");
                (Some(last_words.map_or_else(|| Err(BoxError::from(error)), Ok)), false)
            }
            (End::Broken(_), _) => (None, false),
        };
        if let (Some(last), Some(chunks)) = (last, &self.chunks) {
            // If the caller has gone there is nobody to tell.
            chunks.send_timeout(last, STALL_LIMIT).await.ok();
        }
        self.chunks = None;
        if reusable {
            upstream.keep(connection).await;
        } else {
            give_up(connection).await;
        }
        let end = self.says_of_caller(outcome);
        Passed { outcome, end, first_byte: self.first_byte, service, figures: self.watch.figures() }
    }

    /// A request that was wrong is the caller's affair and no failure, and a busy server is everybody's.
    fn says_of_caller(&self, outcome: Outcome) -> CallEnd {
        match outcome {
            Outcome::Succeeded => CallEnd::Success,
            Outcome::Failed if self.status.is_client_error() => CallEnd::Ignored,
            Outcome::Failed if self.status == StatusCode::SERVICE_UNAVAILABLE => CallEnd::Ignored,
            Outcome::Failed => CallEnd::Failure,
            Outcome::Unreachable | Outcome::Cancelled => CallEnd::Ignored,
        }
    }

    /// Until the answer ends, breaks off, or nobody takes it any more.
    async fn copy(&mut self, body: &mut Incoming) -> End {
        let Some(chunks) = self.chunks.clone() else { return End::Left };
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = chunks.closed() => return End::Left,
            };
            let data: Bytes = match frame {
                None => return End::Over,
                Some(Err(error)) => return End::Broken(error),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_trailers) => continue,
                },
            };
            self.first_byte.get_or_insert_with(|| self.started.elapsed());
            self.watch.read(&data);
            if body.is_end_stream() {
                self.watch.end();
            }
            self.tell_figures();
            if chunks.send_timeout(Ok(data), STALL_LIMIT).await.is_err() {
                return End::Left;
            }
        }
    }

    fn tell_figures(&mut self) {
        if !self.told && self.status.is_success() && self.watch.is_complete() {
            self.told = true;
            (self.heard)(self.watch.figures());
        }
    }

    /// A stream that came to no proper end and did not say why.
    fn wants_last_words(&self, outcome: Outcome) -> bool {
        outcome == Outcome::Failed
            && self.status.is_success()
            && self.watch.is_stream()
            && !self.watch.said_error()
            && !self.sized
    }
}
