//! What lives as long as an answer does.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame};

use crate::{
    body::{Body, BoxError},
    caller::Hold,
};

/// Keeps `hold` for as long as the body lives, and tells it of each piece that is taken.
pub(super) fn holding(body: Body, hold: Option<Box<dyn Hold>>) -> Body {
    match hold {
        Some(hold) => Held { body, hold }.boxed_unsync(),
        None => body,
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
