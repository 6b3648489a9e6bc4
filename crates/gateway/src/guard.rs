//! A body that knows how it ended, and that can be cut from outside.
//!
//! A claim lives as long as the body does, because a stream is in use until its last byte.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::body::BoxError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Whole,
    /// The peer that sends it broke off.
    Broken,
    /// At the drain limit, by us.
    Cut,
    /// Whoever reads it left.
    Left,
}

#[derive(Debug, thiserror::Error)]
#[error("cut at the drain limit")]
struct CutOff;

pub(crate) struct Guarded<B: HttpBody, F: FnOnce(Ended, &mut B)> {
    inner: B,
    cut: CancellationToken,
    /// Made for those alone that last: most bodies are there at the first look.
    cut_off: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    end: Option<F>,
}

impl<B: HttpBody, F: FnOnce(Ended, &mut B)> Guarded<B, F> {
    pub(crate) fn new(inner: B, cut: CancellationToken, end: F) -> Self {
        Self { inner, cut, cut_off: None, end: Some(end) }
    }

    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        let Self { cut, cut_off, .. } = self;
        cut_off.get_or_insert_with(|| Box::pin(cut.clone().cancelled_owned())).as_mut().poll(context).is_ready()
    }

    fn ended(&mut self, how: Ended) {
        if let Some(end) = self.end.take() {
            end(how, &mut self.inner);
        }
    }
}

impl<B, F> HttpBody for Guarded<B, F>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    F: FnOnce(Ended, &mut B) + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        let lasts = !matches!(polled, Poll::Ready(None | Some(Err(_)))) && !self.inner.is_end_stream();
        if lasts && self.end.is_some() && self.is_cut(context) {
            self.ended(Ended::Cut);
            return Poll::Ready(Some(Err(CutOff.into())));
        }
        match &polled {
            Poll::Ready(None) => self.ended(Ended::Whole),
            Poll::Ready(Some(Err(_))) => self.ended(Ended::Broken),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body whose end is known beforehand is dropped at its last byte instead of being asked once more.
impl<B: HttpBody, F: FnOnce(Ended, &mut B)> Drop for Guarded<B, F> {
    fn drop(&mut self) {
        let how = if self.inner.is_end_stream() { Ended::Whole } else { Ended::Left };
        self.ended(how);
    }
}
