//! One request to the model server and its answer's way back, with the retries that nobody notices.
//!
//! Retried is only what has not answered yet: a connection that the peer may have dropped while it was idle,
//! a server that cannot be reached, and a server that says it is busy, the last two within a small budget.
//! When the caller leaves, the connection is closed before anything else goes on.

use std::time::{Duration, Instant};

use bellwether_core::inference::CallEnd;
use http_body_util::{BodyExt, Limited};
use hyper::{StatusCode, body::Incoming};
use tokio::{sync::oneshot, time::timeout};

use super::{
    carriage::Carriage,
    dialect::Dialect,
    upstream::{Broken, Connection, Outgoing, Upstream},
    watch::Figures,
};
use crate::body::Response;

/// Pauses before another try at a server that is busy or cannot be reached. After the last its answer stands.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];
/// Of an answer that nobody will read.
const DISCARD_MAX: usize = 64 << 10;

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
    /// What it says of the agent that called.
    pub(super) end: CallEnd,
    /// From dispatch, retries included.
    pub(super) first_byte: Option<Duration>,
    /// From dispatch to the last byte.
    pub(super) service: Duration,
    pub(super) figures: Figures,
}

impl Passed {
    fn unanswered(outcome: Outcome, started: Instant) -> Self {
        let end = match outcome {
            Outcome::Succeeded => CallEnd::Success,
            Outcome::Failed => CallEnd::Failure,
            // That the model server is away is not the agent's doing (R42).
            Outcome::Unreachable | Outcome::Cancelled => CallEnd::Ignored,
        };
        Self { outcome, end, first_byte: None, service: started.elapsed(), figures: Figures::default() }
    }
}

/// Why there is no answer to pass on.
pub(super) enum Unanswered {
    Left,
    Broken(Broken),
}

/// Sends the request and passes the answer on. Returns when the server is done with it. `heard` is told what a
/// complete answer says of itself before the caller can know that it is complete.
pub(super) async fn pass(
    upstream: &Upstream,
    outgoing: &Outgoing,
    dialect: Dialect,
    mut answer: oneshot::Sender<Response>,
    heard: &dyn Fn(Figures),
) -> Passed {
    let started = Instant::now();
    match reach(upstream, outgoing, &mut answer).await {
        Ok((response, connection)) => {
            let (carriage, body) = Carriage::new(response, answer, started, heard);
            carriage.run(body, upstream, connection, dialect).await
        }
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

pub(super) async fn give_up(connection: Connection) {
    if !connection.close().await {
        tracing::warn!("the model server did not close a connection that was given up; its slot may still be busy");
    }
}
