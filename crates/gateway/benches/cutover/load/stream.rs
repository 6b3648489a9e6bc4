//! A stream of lines, read to its end and checked to be complete.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Incoming, header::HeaderValue};
use serde::Deserialize;
use tokio::{sync::mpsc::UnboundedSender, time::timeout};

use super::{Clients, PATIENCE, answered_by, path};
use crate::{
    fleet::Agent,
    ledger::{Failure, Kind, Opened, Stream},
    targets,
};

const SHORT_LINES: u64 = 10;

/// A lasting one has somebody who waits for it to be open.
pub(super) async fn read(clients: Arc<Clients>, kind: Kind, agent: Agent, lasting: Option<UnboundedSender<()>>) {
    let sent = clients.clock.now();
    let mut stream = Stream {
        kind,
        agent,
        lasting: lasting.is_some(),
        sent,
        opened: None,
        ended: sent,
        pieces: 0,
        longest_pause: Duration::ZERO,
        end: Ok(()),
    };
    stream.end = follow(&clients, &mut stream, lasting).await;
    stream.ended = clients.clock.now();
    clients.note(|ledger| ledger.streams.push(stream));
}

async fn follow(clients: &Clients, stream: &mut Stream, lasting: Option<UnboundedSender<()>>) -> Result<(), Failure> {
    // On a connection of its own: it would keep one of the others from being used.
    let mut sender = clients.connections.connect().await.map_err(|_io| Failure::Connect)?;
    let mut request = Request::new(Full::default());
    let route = if stream.kind == Kind::NdJson { targets::NDJSON } else { targets::SSE };
    *request.uri_mut() = path(stream.agent, route).parse().map_err(|_invalid| Failure::Unsent)?;
    if !stream.lasting {
        request.headers_mut().insert(targets::LINES, HeaderValue::from(SHORT_LINES));
    }
    stream.sent = clients.clock.now();
    let response = patiently(sender.send_request(request)).await?.map_err(|_broken| Failure::Broken)?;
    let mut heard = clients.clock.now();
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status().as_u16()));
    }
    let by = answered_by(response.headers(), stream.agent)?;
    stream.opened = Some(Opened { by, at: heard });
    if let Some(opened) = lasting {
        // Nobody waits any more: the load gave up, which it says itself.
        let _ = opened.send(());
    }

    let mut lines = Reader { body: response.into_body(), held: Vec::new() };
    while let Some(line) = patiently(lines.next()).await?? {
        let now = clients.clock.now();
        stream.longest_pause = stream.longest_pause.max(now - heard);
        heard = now;
        match line {
            Line::Piece { line } if line == stream.pieces => stream.pieces += 1,
            Line::Last { lines: count } if count == stream.pieces => {
                // Complete, if nothing follows.
                return match patiently(lines.next()).await?? {
                    None => Ok(()),
                    Some(_) => Err(Failure::Altered),
                };
            }
            Line::Piece { .. } | Line::Last { .. } => return Err(Failure::Altered),
        }
    }
    // It ended in an orderly way, but before its end.
    Err(Failure::Altered)
}

async fn patiently<T>(what: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(PATIENCE, what).await.map_err(|_late| Failure::TimedOut)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Piece { line: u64 },
    Last { lines: u64 },
}

struct Reader {
    body: Incoming,
    held: Vec<u8>,
}

impl Reader {
    /// `None` at the end of the body.
    async fn next(&mut self) -> Result<Option<Line>, Failure> {
        loop {
            if let Some(end) = self.held.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                let line = line.trim_ascii();
                let json = line.strip_prefix(b"data: ").unwrap_or(line);
                if json.is_empty() {
                    continue;
                }
                return serde_json::from_slice(json).map(Some).map_err(|_other| Failure::Altered);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.held.extend_from_slice(frame.data_ref().map_or(&[], Bytes::as_ref)),
                Some(Err(_)) => return Err(Failure::Broken),
                None if self.held.is_empty() => return Ok(None),
                None => return Err(Failure::Altered),
            }
        }
    }
}
