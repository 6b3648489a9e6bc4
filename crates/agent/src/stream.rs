//! The lines of a streamed body, as they come.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::{connections::Lease, http::HttpError};

const LINE_MAX: usize = 1 << 20;
/// How long a body may take to end after its last line, so that its connection can be used again.
const LINGER: Duration = Duration::from_secs(1);

pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, buffer: BytesMut::new(), ended: false }
    }

    /// The next line that is not blank; None at the end. `limit` bounds each wait for bytes.
    pub(crate) async fn next(&mut self, limit: Duration) -> Result<Option<Bytes>, HttpError> {
        loop {
            if let Some(line) = self.take_line() {
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            if self.ended {
                return Ok(None);
            }
            if self.buffer.len() > LINE_MAX {
                return Err(HttpError::Broken("a line of the answer is too long".into()));
            }
            self.read(limit).await?;
        }
    }

    /// Reads to the end of the body after the last line that matters, so that the connection can be used again.
    pub(crate) async fn finish(mut self, lease: Lease) {
        let rest = async {
            while !self.ended && self.read(LINGER).await.is_ok() {
                self.buffer.clear();
            }
        };
        // A body that does not end only costs its connection.
        if timeout(LINGER, rest).await.is_ok() && self.ended {
            lease.keep();
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
            let line = self.buffer.split_to(end).freeze();
            self.buffer.advance(1);
            return Some(line);
        }
        (self.ended && !self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }

    async fn read(&mut self, limit: Duration) -> Result<(), HttpError> {
        match timeout(limit, self.body.frame()).await {
            Err(_elapsed) => return Err(HttpError::TimedOut(limit)),
            Ok(Some(Err(error))) => return Err(HttpError::Broken(error.to_string())),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
            }
            Ok(None) => self.ended = true,
        }
        Ok(())
    }
}
