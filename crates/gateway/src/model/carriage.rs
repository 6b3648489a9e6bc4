//! An answer's way from the model server to the caller, chunk by chunk and unchanged.
//!
//! What it says of itself is heard before its last chunk is handed on: whoever has the whole answer may act on
//! it at once, and must find everything accounted for. It moves when the caller's connection asks for the next chunk; what
//! has to go on after the caller has left is done by a task of its own.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bellwether_core::inference::CallEnd;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    StatusCode,
    body::{Body as HttpBody, Frame},
    header::CONTENT_LENGTH,
    http::response::Parts,
};

use super::{
    dialect::Dialect,
    dispatched::{Account, Dispatched},
    exchange::{Outcome, Passed},
    flight::Flight,
    watch::{Form, Watch},
};
use crate::{
    body::{BoxError, Response},
    hop, wire,
};

const CUT: &str = "the model server broke the answer off";
const STOOD_STILL: &str = "nothing came from the model server for too long";
const LEFT: &str = "nothing of the answer was taken for too long";

pub(super) struct Carriage {
    flight: Arc<Flight>,
    watch: Watch,
    dialect: Dialect,
    status: StatusCode,
    /// The length was told beforehand, so nothing can be added.
    sized: bool,
    told: bool,
    first_byte: Option<Duration>,
    /// What is still to be handed on after the server's own.
    last: Option<Result<Bytes, BoxError>>,
    is_over: bool,
}

enum End {
    Over,
    Broken(wire::Broken),
    Stalled,
    Left,
}

impl Carriage {
    /// The answer, whose body is the carriage.
    pub(super) fn begin(
        mut head: Parts,
        dispatched: Box<Dispatched>,
        flight: Arc<Flight>,
        dialect: Dialect,
    ) -> Response {
        let mut carriage = Self {
            flight,
            watch: Watch::new(Form::of(&head.headers)),
            dialect,
            status: head.status,
            sized: head.headers.contains_key(CONTENT_LENGTH),
            told: false,
            first_byte: None,
            last: None,
            is_over: false,
        };
        if dispatched.line.is_over() {
            carriage.ended(dispatched, End::Over);
        } else {
            *carriage.flight.aboard() = Some(dispatched);
        }
        hop::strip(&mut head.headers);
        Response::from_parts(head, carriage.boxed_unsync())
    }

    /// Accounts for it, and says what is to be handed on after it.
    fn ended(&mut self, mut dispatched: Box<Dispatched>, end: End) {
        let mid_line = self.watch.is_mid_line();
        if matches!(end, End::Over) {
            self.watch.end();
            self.tell_figures(&dispatched);
        }
        let outcome = match &end {
            _ if self.status.is_success() && self.watch.is_complete() => Outcome::Succeeded,
            End::Left => Outcome::Cancelled,
            End::Over | End::Broken(_) | End::Stalled => Outcome::Failed,
        };
        let passed = Passed {
            outcome,
            end: self.says_of_caller(outcome),
            first_byte: self.first_byte,
            service: dispatched.started.elapsed(),
            streamed: self.watch.is_stream(),
            figures: self.watch.figures(),
        };
        let failed = match end {
            End::Over => {
                dispatched.line.give_back(&dispatched.ways.upstreams[dispatched.server.0]);
                dispatched.landed(&passed);
                None
            }
            End::Broken(error) => {
                if outcome == Outcome::Failed {
                    tracing::warn!(error = &error as &dyn std::error::Error, "an answer broke off");
                }
                dispatched.given_up(passed);
                Some((CUT, error.into()))
            }
            End::Stalled => {
                dispatched.given_up(passed);
                Some((STOOD_STILL, STOOD_STILL.into()))
            }
            End::Left => {
                dispatched.given_up(passed);
                None
            }
        };
        let why = failed.as_ref().map_or(CUT, |(why, _)| why);
        self.last = if self.wants_last_words(outcome) {
            Some(Ok(self.dialect.last_words(why, mid_line)))
        } else {
            failed.filter(|_| outcome == Outcome::Failed).map(|(_, error)| Err(error))
        };
        self.is_over = self.last.is_none();
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

    fn tell_figures(&mut self, dispatched: &Dispatched) {
        if !self.told && self.status.is_success() && self.watch.is_complete() {
            self.told = true;
            if let Account::Charged { charged, .. } = &dispatched.account {
                charged.waited_for_load(self.watch.figures().load);
            }
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

    fn last(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.is_over = true;
        Poll::Ready(self.last.take().map(|last| last.map(Frame::data)))
    }
}

impl HttpBody for Carriage {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.is_over || this.last.is_some() {
            return this.last();
        }
        let flight = this.flight.clone();
        let mut aboard = flight.aboard();
        let Some(mut dispatched) = aboard.take() else {
            this.is_over = true;
            return Poll::Ready(Some(Err(LEFT.into())));
        };
        flight.asked_for();
        let end = match dispatched.line.poll_piece(context) {
            Poll::Pending if flight.is_stalled(context) => End::Stalled,
            Poll::Pending => {
                *aboard = Some(dispatched);
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(piece))) => {
                this.first_byte.get_or_insert_with(|| dispatched.started.elapsed());
                this.watch.read(&piece);
                if dispatched.line.is_over() {
                    drop(aboard);
                    this.ended(dispatched, End::Over);
                } else {
                    flight.handed_on();
                    this.tell_figures(&dispatched);
                    *aboard = Some(dispatched);
                }
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            Poll::Ready(Some(Err(error))) => End::Broken(error),
            Poll::Ready(None) => End::Over,
        };
        drop(aboard);
        this.ended(dispatched, end);
        this.last()
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

impl Drop for Carriage {
    fn drop(&mut self) {
        let aboard = self.flight.aboard().take();
        if let Some(dispatched) = aboard {
            self.ended(dispatched, End::Left);
        }
    }
}
