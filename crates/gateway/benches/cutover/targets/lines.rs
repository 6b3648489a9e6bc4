//! A body of numbered lines, one each beat, and a last one that tells how many there were.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Interval, interval_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::BEAT;

#[derive(Clone, Copy)]
pub(super) enum Form {
    NdJson,
    Sse,
}

impl Form {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::NdJson => "application/x-ndjson",
            Self::Sse => "text/event-stream",
        }
    }

    fn line(self, key: &str, value: u64) -> Bytes {
        match self {
            Self::NdJson => format!("{{\"{key}\":{value}}}\n"),
            Self::Sse => format!("data: {{\"{key}\":{value}}}\n\n"),
        }
        .into()
    }
}

pub(super) struct Lines {
    form: Form,
    beat: Interval,
    next: u64,
    count: Option<u64>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
}

impl Lines {
    /// Of so many lines, or of as many as there are until `end`.
    pub(super) fn new(form: Form, count: Option<u64>, end: &CancellationToken) -> Self {
        let beat = interval_at(Instant::now() + BEAT, BEAT);
        Self { form, beat, next: 0, count, end: Box::pin(end.clone().cancelled_owned()), is_over: false }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.count {
            Some(count) if self.next < count => Poll::Pending,
            Some(_) => Poll::Ready(()),
            None => self.end.as_mut().poll(context),
        }
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let line = if self.poll_end(context).is_ready() {
            self.is_over = true;
            self.form.line("lines", self.next)
        } else {
            ready!(self.beat.poll_tick(context));
            let number = self.next;
            self.next += 1;
            self.form.line("line", number)
        };
        Poll::Ready(Some(Ok(Frame::data(line))))
    }
}
