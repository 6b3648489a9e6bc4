//! The answer's way back: from the model's thread to the caller's connection, a few chunks at a time.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use crate::body::{Body, BoxError};

/// Chunks that may wait for a slow caller before the model server is no longer read from.
const CHUNKS: usize = 64;

pub(super) type Chunk = Result<Bytes, BoxError>;

/// The writing end tells by `closed()` when the caller has gone.
pub(super) fn relay() -> (mpsc::Sender<Chunk>, Body) {
    let (sender, chunks) = mpsc::channel(CHUNKS);
    (sender, Relay { chunks }.boxed_unsync())
}

/// Keeps `hold` for as long as the body lives.
pub(super) fn holding(body: Body, hold: Option<Box<dyn Send>>) -> Body {
    match hold {
        Some(hold) => Held { body, _hold: hold }.boxed_unsync(),
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
    _hold: Box<dyn Send>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
