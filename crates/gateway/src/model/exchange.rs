//! One request to the model server and its answer's way back, with the retries that nobody notices.
//!
//! Retried is only what has not answered yet: a connection that the peer may have dropped while it was idle,
//! a server that cannot be reached, and a server that says it is busy, the last two within a small budget.
//! When the caller leaves, the connection is closed before anything else goes on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{StatusCode, body::Incoming, header::CONTENT_LENGTH};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    dialect::Dialect,
    inbound::remove_hop_by_hop,
    relay::{Chunk, relay},
    upstream::{Broken, Connection, Outgoing, Upstream},
    watch::{Figures, Form, Watch},
};
use crate::body::{BoxError, Response};

/// Pauses before another try at a server that is busy or cannot be reached. After the last its answer stands.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];
/// A caller that takes nothing for so long has left: a slot is not a parking space.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Of an answer that nobody will read.
const DISCARD_MAX: usize = 64 << 10;

const CUT: &str = "the model server broke the answer off";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded,
    Failed,
    Unreachable,
    Cancelled,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) outcome: Outcome,
    /// From dispatch, retries included.
    pub(super) first_byte: Option<Duration>,
    /// From dispatch to the last byte.
    pub(super) service: Duration,
    pub(super) figures: Figures,
}

impl Passed {
    fn unanswered(outcome: Outcome, started: Instant) -> Self {
        Self { outcome, first_byte: None, service: started.elapsed(), figures: Figures::default() }
    }
}

/// Why there is no answer to pass on.
pub(super) enum Unanswered {
    Left,
    Broken(Broken),
}

/// Sends the request and passes the answer on. Returns when the server is done with it.
pub(super) async fn pass(
    upstream: &Upstream,
    outgoing: &Outgoing,
    dialect: Dialect,
    mut answer: oneshot::Sender<Response>,
) -> Passed {
    let started = Instant::now();
    match reach(upstream, outgoing, &mut answer).await {
        Ok((response, connection)) => carry(upstream, connection, response, dialect, answer, started).await,
        Err(Unanswered::Left) => Passed::unanswered(Outcome::Cancelled, started),
        Err(Unanswered::Broken(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a model call failed");
            // If the caller has left meanwhile there is nobody to tell.
            answer.send(dialect.answer(StatusCode::BAD_GATEWAY, &error.to_string())).ok();
            let outcome = match error {
                Broken::Unreachable(_) => Outcome::Unreachable,
                Broken::Exchange(_) => Outcome::Failed,
            };
            Passed::unanswered(outcome, started)
        }
    }
}

/// Gets as far as the head of an answer. The caller has left when `answer` is closed.
pub(super) async fn reach(
    upstream: &Upstream,
    outgoing: &Outgoing,
    answer: &mut oneshot::Sender<Response>,
) -> Result<(hyper::Response<Incoming>, Connection), Unanswered> {
    let mut fresh = false;
    let mut pauses = PAUSES.iter();
    loop {
        let connected = tokio::select! {
            biased;
            connected = upstream.connect(fresh) => connected,
            () = answer.closed() => return Err(Unanswered::Left),
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                let Some(pause) = pauses.next() else { return Err(Unanswered::Broken(error)) };
                rest(*pause, answer).await?;
                continue;
            }
        };
        let head = tokio::select! {
            biased;
            head = connection.exchange(upstream, outgoing) => Some(head),
            () = answer.closed() => None,
        };
        match head {
            None => {
                give_up(connection).await;
                return Err(Unanswered::Left);
            }
            Some(Err(error)) => {
                let stale = connection.may_be_stale();
                give_up(connection).await;
                if !stale {
                    return Err(Unanswered::Broken(error));
                }
                fresh = true;
            }
            Some(Ok(response)) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                let Some(pause) = pauses.next() else { return Ok((response, connection)) };
                match Limited::new(response.into_body(), DISCARD_MAX).collect().await {
                    Ok(_) => upstream.keep(connection).await,
                    Err(_) => give_up(connection).await,
                }
                rest(*pause, answer).await?;
            }
            Some(Ok(response)) => return Ok((response, connection)),
        }
    }
}

async fn rest(pause: Duration, answer: &mut oneshot::Sender<Response>) -> Result<(), Unanswered> {
    // A closed channel is a caller that left during the pause.
    match timeout(pause, answer.closed()).await {
        Ok(()) => Err(Unanswered::Left),
        Err(_) => Ok(()),
    }
}

async fn give_up(connection: Connection) {
    if !connection.close().await {
        tracing::warn!("the model server did not close a connection that was given up; its slot may still be busy");
    }
}

enum End {
    Over,
    Broken(hyper::Error),
    Left,
}

async fn carry(
    upstream: &Upstream,
    connection: Connection,
    response: hyper::Response<Incoming>,
    dialect: Dialect,
    answer: oneshot::Sender<Response>,
    started: Instant,
) -> Passed {
    let (mut head, mut body) = response.into_parts();
    let ok = head.status.is_success();
    let sized = head.headers.contains_key(CONTENT_LENGTH);
    let mut watch = Watch::new(Form::of(&head.headers));
    remove_hop_by_hop(&mut head.headers);
    let (chunks, relayed) = relay();
    let mut first_byte = None;
    let end = match answer.send(Response::from_parts(head, relayed)) {
        Ok(()) => copy(&mut body, &chunks, &mut watch, &mut first_byte, started).await,
        Err(_) => End::Left,
    };
    let service = started.elapsed();
    let mid_line = watch.is_mid_line();
    if matches!(end, End::Over) {
        watch.end();
    }
    let outcome = match &end {
        _ if ok && watch.is_complete() => Outcome::Succeeded,
        End::Left => Outcome::Cancelled,
        End::Over | End::Broken(_) => Outcome::Failed,
    };
    drop(body);
    match end {
        End::Over => {
            if ok && outcome == Outcome::Failed && watch.is_stream() && !watch.said_error() && !sized {
                tell(&chunks, Ok(dialect.last_words(CUT, mid_line))).await;
            }
            drop(chunks);
            upstream.keep(connection).await;
        }
        End::Broken(error) => {
            if outcome == Outcome::Failed {
                tracing::warn!(%error, "an answer broke off");
                if ok && watch.is_stream() && !watch.said_error() && !sized {
                    tell(&chunks, Ok(dialect.last_words(CUT, mid_line))).await;
                } else {
                    tell(&chunks, Err(BoxError::from(error))).await;
                }
            }
            drop(chunks);
            give_up(connection).await;
        }
        End::Left => give_up(connection).await,
    }
    Passed { outcome, first_byte, service, figures: watch.figures() }
}

/// Until the answer ends, breaks off, or nobody takes it any more.
async fn copy(
    body: &mut Incoming,
    chunks: &mpsc::Sender<Chunk>,
    watch: &mut Watch,
    first_byte: &mut Option<Duration>,
    started: Instant,
) -> End {
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
        first_byte.get_or_insert_with(|| started.elapsed());
        watch.read(&data);
        if chunks.send_timeout(Ok(data), STALL_LIMIT).await.is_err() {
            return End::Left;
        }
    }
}

/// Best effort: if the caller has gone there is nobody to tell.
async fn tell(chunks: &mpsc::Sender<Chunk>, chunk: Chunk) {
    chunks.send_timeout(chunk, STALL_LIMIT).await.ok();
}
