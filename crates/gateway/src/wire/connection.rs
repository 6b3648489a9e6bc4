//! A connection to a server, and what was read from it and not taken yet.

use std::{
    io,
    pin::pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
    time::timeout,
};

/// Room for a read, and what it may grow to where all of it is filled.
const ROOM_MIN: usize = 8 << 10;
const ROOM_MAX: usize = 64 << 10;
/// Room that is left is used, unless it is less.
const ROOM_LEFT: usize = 2 << 10;

pub(crate) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) unread: BytesMut,
    /// Encoded and not sent. Empty between requests, kept for its room.
    pub(super) out: Vec<u8>,
    room: usize,
    /// It has carried an exchange.
    pub(super) is_used: bool,
}

impl Connection {
    pub(crate) async fn dial(to: impl ToSocketAddrs, limit: Duration) -> io::Result<Self> {
        let dialled = timeout(limit, TcpStream::connect(to)).await;
        let stream = dialled.map_err(|_late| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: BytesMut::new(), out: Vec::new(), room: ROOM_MIN, is_used: false })
    }

    /// Whether it can carry an exchange as far as is known: nothing has come on it since the last, not even its end.
    pub(crate) fn is_idle(&self) -> bool {
        let nothing = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.unread.is_empty() && self.stream.try_read(&mut [0]).is_err_and(nothing)
    }

    /// The peer may have closed it while it was idle, without having seen the request.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }

    /// Waits until the peer has closed it too. False if it did not in time.
    pub(super) async fn close(&mut self, limit: Duration) -> bool {
        if self.stream.shutdown().await.is_err() {
            return true;
        }
        let drained = async {
            loop {
                self.unread.clear();
                self.unread.reserve(ROOM_MIN);
                match self.stream.read_buf(&mut self.unread).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                }
            }
        };
        timeout(limit, drained).await.is_ok()
    }

    /// For what is no HTTP any more: with what has come already.
    pub(super) fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.stream, self.unread)
    }

    /// Appends to what is unread. 0 at the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.unread.capacity() - self.unread.len() < ROOM_LEFT {
            self.unread.reserve(self.room);
        }
        let read = ready!(pin!(self.stream.read_buf(&mut self.unread)).poll(context))?;
        if self.unread.len() == self.unread.capacity() {
            self.room = (self.room * 2).min(ROOM_MAX);
        }
        Poll::Ready(Ok(read))
    }
}
