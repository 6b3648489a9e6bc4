//! A request on its way out: its head, and its body as it comes.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::body::Body;
use tokio::{io::AsyncWrite, net::TcpStream};

use super::{
    Broken,
    head::{Asked, Length},
};
use crate::body::BoxError;

pub(super) struct Sending<B> {
    /// None once all of it was taken.
    body: Option<B>,
    left: Length,
    /// In this order: what is encoded, a piece of the body as it came, and what ends that. All unsent.
    written: usize,
    piece: Bytes,
    tail: &'static [u8],
    /// Something of it may have reached the peer, or was taken out of the body.
    begun: bool,
    /// The head waited for a piece of the body, to leave together with it.
    waited: bool,
    is_done: bool,
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    /// Encodes the head into `out`.
    pub(super) fn new(asked: Asked<'_>, body: B, out: &mut Vec<u8>) -> Result<Self, (Broken, B)> {
        let left = match body.size_hint().exact() {
            Some(bytes) => Length::Bytes(bytes),
            None => Length::Chunked,
        };
        out.clear();
        match asked.write(left, out) {
            Ok(()) => {
                let body = Some(body);
                Ok(Self {
                    body,
                    left,
                    written: 0,
                    piece: Bytes::new(),
                    tail: b"",
                    begun: false,
                    waited: false,
                    is_done: false,
                })
            }
            Err(broken) => Err((broken, body)),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The body, if provably nothing was done with it.
    pub(super) fn unsent(self) -> Option<B> {
        self.body.filter(|_| !self.begun)
    }

    /// Sends what there is. Ready once that was all.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut TcpStream,
        out: &mut Vec<u8>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if self.piece.is_empty() && self.tail.is_empty() {
                self.take(context, out)?;
            }
            let parts = [IoSlice::new(&out[self.written..]), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            if parts.iter().all(|part| part.is_empty()) {
                self.is_done = self.body.is_none();
                return if self.is_done { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            // Who reads the body off the client's connection gets to it after us.
            if self.body.is_some() && self.piece.is_empty() && !std::mem::replace(&mut self.waited, true) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let sent = ready!(Pin::new(&mut *stream).poll_write_vectored(context, &parts))?;
            if sent == 0 {
                return Poll::Ready(Err(Broken::Closed));
            }
            self.begun = true;
            self.sent(sent, out);
        }
    }

    /// The next piece of the body, if it is there.
    fn take(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        while let Some(body) = &mut self.body {
            let frame = match body.is_end_stream() {
                true => None,
                false => match Pin::new(body).poll_frame(context) {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => return Ok(()),
                },
            };
            let Some(frame) = frame else { return self.end(out) };
            self.begun = true;
            let frame = frame.map_err(|error| Broken::Body(error.into()))?;
            // Trailers end here.
            let Ok(data) = frame.into_data() else { continue };
            if data.is_empty() {
                continue;
            }
            match &mut self.left {
                Length::Bytes(left) => {
                    *left = left.checked_sub(data.len() as u64).ok_or_else(|| differs("it is longer than it said"))?;
                }
                Length::Chunked => {
                    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                    self.tail = b"\r\n";
                }
            }
            self.piece = data;
            if self.left == Length::Bytes(0) {
                self.body = None;
            }
            return Ok(());
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Broken> {
        match self.left {
            Length::Bytes(0) => {}
            Length::Bytes(_) => return Err(differs("it is shorter than it said")),
            Length::Chunked => out.extend_from_slice(b"0\r\n\r\n"),
        }
        self.body = None;
        Ok(())
    }

    fn sent(&mut self, mut sent: usize, out: &mut Vec<u8>) {
        let encoded = sent.min(out.len() - self.written);
        self.written += encoded;
        sent -= encoded;
        if self.written == out.len() {
            out.clear();
            self.written = 0;
        }
        let of_piece = sent.min(self.piece.len());
        self.piece.advance(of_piece);
        if self.piece.is_empty() {
            self.piece = Bytes::new();
        }
        self.tail = &self.tail[sent - of_piece..];
    }
}

fn differs(why: &'static str) -> Broken {
    Broken::Body(why.into())
}
