//! HTTP/1.1 to a server behind the gateway, one exchange at a time on a connection.
//!
//! An exchange is driven by whoever waits for its answer, in their own task: nothing else wakes for it. Whoever drops it
//! closes the connection. What comes is taken strictly: an answer of which it is not certain where it ends is none,
//! because its rest would be taken for the answer to somebody else's request.

mod body;
mod connection;
mod exchange;
mod head;
mod sending;
#[cfg(test)]
mod tests;

use std::io;

pub(crate) use self::{connection::Connection, exchange::Exchange, head::Asked};
use crate::body::BoxError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the connection broke")]
    Io(#[from] io::Error),
    #[error("it was closed before the end of the answer")]
    Closed,
    #[error("what came is no answer: {0}")]
    Malformed(&'static str),
    #[error("the request cannot be written: {0}")]
    Unwritable(&'static str),
    #[error("the request's body broke off")]
    Body(#[source] BoxError),
}
