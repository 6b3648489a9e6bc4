//! The answer's way back: from the model's thread to the caller's connection, a few chunks at a time.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use crate::{
    body::{Body, BoxError},
    caller::Hold,
};

/// Chunks that may wait for a slow caller before the model server is no longer read from.
const CHUNKS: usize = 64;

pub(super) type Chunk = Result<Bytes, BoxError>;

/// The writing end tells by `closed()` when the caller has gone.
pub(super) fn relay() -> (mpsc::Sender<Chunk>, Body) {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    (sender, Relay { chunks }.boxed_unsync())
}

/// Keeps `hold` for as long as the body lives, and tells it of each piece that is taken.
pub(super) fn holding(body: Body, hold: Option<Box<dyn Hold>>) -> Body {
    match hold {
        Some(hold) => Held { body, hold }.boxed_unsync(),
        None => body,
    }
}

struct Relay {
    chunks: mpsc::Receiver<Chunk>,
}

impl HttpBody for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.get_mut().chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

struct Held {
    body: Body,
    hold: Box<dyn Hold>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            this.hold.passed();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
