//! One request and its answer, from the head of the one to the last byte of the other.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::{
    Method, StatusCode,
    body::{Body, Frame, SizeHint},
    http::response::Parts,
};
use tokio::net::TcpStream;

use super::{
    Broken, Connection,
    body::Framing,
    head::{Asked, Head, Reader},
    sending::Sending,
};
use crate::body::BoxError;

/// Answers that announce another one.
const INTERIM_MAX: u32 = 16;

/// [`Exchange::head`] first; then it is the body of the answer. Of the request's body, what has not been sent by then is
/// sent meanwhile.
pub(crate) struct Exchange<B> {
    /// None once it was given back.
    connection: Option<Connection>,
    sending: Sending<B>,
    /// Why sending ended early. The answer may have been there first.
    unsendable: Option<Broken>,
    reader: Reader,
    bodiless: bool,
    framing: Framing,
    keeps: bool,
}

impl<B> Exchange<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    /// Nothing is sent before it is polled.
    pub(crate) fn new(mut connection: Connection, asked: Asked<'_>, body: B) -> Result<Self, (Broken, B)> {
        let sending = Sending::new(asked, body, &mut connection.out)?;
        let bodiless = *asked.method == Method::HEAD;
        Ok(Self {
            connection: Some(connection),
            sending,
            unsendable: None,
            reader: Reader::default(),
            bodiless,
            framing: Framing::Over,
            keeps: false,
        })
    }

    pub(crate) async fn head(&mut self) -> Result<Parts, Broken> {
        poll_fn(|context| self.poll_head(context)).await
    }

    /// The request's body, if provably nothing of it has reached the peer.
    pub(crate) fn unsent(self) -> Option<B> {
        self.sending.unsent()
    }

    /// The connection, once the answer was whole and another exchange can be made on it.
    pub(crate) fn release(&mut self) -> Option<Connection> {
        if !self.framing.is_over() || !self.keeps || !self.sending.is_done() {
            return None;
        }
        self.connection.take().filter(|connection| connection.unread.is_empty())
    }

    /// Gives the connection up and waits until the peer has closed it too. False if it did not in time.
    pub(crate) async fn close(&mut self, limit: Duration) -> bool {
        match &mut self.connection {
            Some(connection) => connection.close(limit).await,
            None => true,
        }
    }

    /// What the connection is after the protocol was switched, and what has come of that already.
    pub(crate) fn into_switched(self) -> Option<(TcpStream, BytesMut)> {
        self.connection.map(Connection::into_parts)
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Parts, Broken>> {
        let mut interim = 0;
        loop {
            self.send(context)?;
            let Some(connection) = &mut self.connection else { return Poll::Ready(Err(Broken::Closed)) };
            while let Some(head) = self.reader.read(&mut connection.unread, self.bodiless)? {
                let Head { parts, framing, keeps } = head;
                if parts.status.is_informational() && parts.status != StatusCode::SWITCHING_PROTOCOLS {
                    interim += 1;
                    if interim > INTERIM_MAX {
                        return Poll::Ready(Err(Broken::Malformed("too many interim answers")));
                    }
                    continue;
                }
                (self.framing, self.keeps, connection.is_used) = (framing, keeps, true);
                return Poll::Ready(Ok(parts));
            }
            match ready!(connection.poll_read(context)) {
                Ok(1..) => {}
                Ok(0) => return Poll::Ready(Err(self.unsendable.take().unwrap_or(Broken::Closed))),
                Err(error) => return Poll::Ready(Err(self.unsendable.take().unwrap_or(Broken::Io(error)))),
            }
        }
    }

    /// As much as there is and the peer takes. It may have answered without having taken all: that is for the reading to
    /// find. A body that broke off is an end of the whole.
    fn send(&mut self, context: &mut Context<'_>) -> Result<(), Broken> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if self.unsendable.is_some() || self.sending.is_done() {
            return Ok(());
        }
        match self.sending.poll(context, &mut connection.stream, &mut connection.out) {
            Poll::Ready(Err(broken @ Broken::Body(_))) => Err(broken),
            Poll::Ready(Err(broken)) => {
                self.unsendable = Some(broken);
                Ok(())
            }
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }
}

impl<B> Body for Exchange<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        this.send(context)?;
        loop {
            let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
            if let Some(piece) = this.framing.next(&mut connection.unread)? {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if this.framing.is_over() {
                return Poll::Ready(None);
            }
            if ready!(connection.poll_read(context))? == 0 {
                this.framing.closed()?;
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.framing.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Sized(left) => SizeHint::with_exact(left),
            Framing::Over => SizeHint::with_exact(0),
            Framing::Chunked { .. } | Framing::UntilClose | Framing::Bad(_) => SizeHint::default(),
        }
    }
}
