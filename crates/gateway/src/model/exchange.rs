//! One request to the model server, as far as the head of its answer, with the retries that nobody notices.
//!
//! Retried is only what has not answered yet: a connection that the peer may have dropped while it was idle,
//! a server that cannot be reached, and a server that says it is busy, the last two within a small budget.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bellwether_core::inference::CallEnd;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{StatusCode, body::Body as HttpBody, http::response::Parts};
use tokio::time::sleep;

use super::{
    flight::Flight,
    upstream::{Broken, Outgoing, Upstream},
    watch::Figures,
};
use crate::wire::{self, Exchange};

/// Pauses before another try at a server that is busy or cannot be reached. After the last its answer stands.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];
/// Of an answer that nobody will read.
const DISCARD_MAX: usize = 64 << 10;
/// Of an answer to a request of the gateway's own.
const FETCHED_MAX: usize = 4 << 20;
/// How long the peer may take to close its side of a connection that was given up.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

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
    /// It was told piece by piece.
    pub(super) streamed: bool,
    pub(super) figures: Figures,
}

impl Passed {
    pub(super) fn unanswered(outcome: Outcome, started: Instant) -> Self {
        let end = match outcome {
            Outcome::Succeeded => CallEnd::Success,
            Outcome::Failed => CallEnd::Failure,
            // That the model server is away is not the agent's doing (R42).
            Outcome::Unreachable | Outcome::Cancelled => CallEnd::Ignored,
        };
        let figures = Figures::default();
        Self { outcome, end, first_byte: None, service: started.elapsed(), streamed: false, figures }
    }
}

/// What a call is made on, one connection after another.
#[derive(Default)]
pub(super) struct Line {
    /// None before the first, and after it was given back or up.
    exchange: Option<Exchange<Full<Bytes>>>,
    doubtful: bool,
}

impl Line {
    /// The server did not close a connection that was given up: it may compute on.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// The answer has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.exchange.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    pub(super) fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, wire::Broken>>> {
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        // There is nothing but data in it.
        let data = |frame: hyper::body::Frame<Bytes>| frame.into_data().unwrap_or_default();
        Pin::new(exchange).poll_frame(context).map(|frame| frame.map(|frame| frame.map(data)))
    }

    /// After an answer that was read to its end.
    pub(super) fn give_back(&mut self, upstream: &Upstream) {
        if let Some(connection) = self.exchange.take().and_then(|mut exchange| exchange.release()) {
            upstream.keep(connection);
        }
    }

    /// Waits for the server to close the connection. It can be given up again where that was not waited for.
    pub(super) async fn give_up(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            if !exchange.close(CLOSE_LIMIT).await {
                self.doubtful = true;
            }
            self.exchange = None;
        }
    }
}

/// The whole answer to a request of the gateway's own.
pub(super) struct Fetched {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

pub(super) async fn fetch(upstream: &Upstream, outgoing: &Outgoing<'_>) -> Result<Fetched, String> {
    let mut line = Line::default();
    let reached = reach(upstream, outgoing, &Flight::new(), &mut line, false).await;
    let status = reached.map_err(|error| error.to_string())?.status;
    let body = match &mut line.exchange {
        Some(exchange) => Limited::new(exchange, FETCHED_MAX).collect().await.map_err(|error| error.to_string())?,
        None => return Err("there is no answer".to_owned()),
    };
    line.give_back(upstream);
    Ok(Fetched { status, body: body.to_bytes() })
}

/// Gets as far as the head of an answer. Whoever no longer waits for it has to give the line up.
pub(super) async fn reach(
    upstream: &Upstream,
    outgoing: &Outgoing<'_>,
    flight: &Flight,
    line: &mut Line,
    another: bool,
) -> Result<Parts, Broken> {
    let mut fresh = false;
    let mut pauses = PAUSES.iter();
    loop {
        let connection = match upstream.connect(fresh).await {
            Ok(connection) => connection,
            Err(error) if another => return Err(error),
            Err(error) => {
                let Some(pause) = pauses.next() else { return Err(error) };
                sleep(*pause).await;
                continue;
            }
        };
        let may_be_stale = connection.is_used();
        let exchange = line.exchange.insert(upstream.exchange(connection, outgoing)?);
        let head = {
            let mut head = pin!(exchange.head());
            poll_fn(|context| match head.as_mut().poll(context) {
                Poll::Ready(head) => Poll::Ready(head.map_err(Broken::Exchange)),
                Poll::Pending if flight.is_stalled(context) => Poll::Ready(Err(Broken::Stalled)),
                Poll::Pending => Poll::Pending,
            })
            .await
        };
        match head {
            Err(error) => {
                line.give_up().await;
                if !may_be_stale || !matches!(error, Broken::Exchange(_)) {
                    return Err(error);
                }
                fresh = true;
            }
            Ok(head) if head.status == StatusCode::SERVICE_UNAVAILABLE => {
                let Some(pause) = pauses.next() else { return Ok(head) };
                match Limited::new(exchange, DISCARD_MAX).collect().await {
                    Ok(_) => line.give_back(upstream),
                    Err(_) => line.give_up().await,
                }
                sleep(*pause).await;
            }
            Ok(head) => return Ok(head),
        }
    }
}
