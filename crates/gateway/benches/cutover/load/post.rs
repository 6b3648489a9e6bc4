//! One request of a kilobyte, and its answer.

use std::{sync::Arc, time::Duration};

use bellwether_core::id::Side;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use tokio::time::timeout;

use super::{Clients, PATIENCE, answered_by, path};
use crate::{
    fleet::Agent,
    ledger::{Failure, Post},
    targets,
};

const BODY_BYTES: usize = 1024;

pub(super) fn submit(clients: &Arc<Clients>, agent: Agent, due: Duration) {
    let clients = clients.clone();
    match clients.in_flight.clone().try_acquire_owned() {
        Ok(permit) => {
            let tasks = clients.tasks.clone();
            tasks.spawn(async move {
                let mut sent = due;
                let outcome = timeout(PATIENCE, exchange(&clients, agent, due, &mut sent)).await;
                let outcome = outcome.unwrap_or(Err(Failure::TimedOut));
                let ended = clients.clock.now();
                clients.note(|ledger| ledger.posts.push(Post { agent, due, sent, ended, outcome }));
                drop(permit);
            });
        }
        Err(_full) => {
            let now = clients.clock.now();
            let outcome = Err(Failure::Unsent);
            clients.note(|ledger| ledger.posts.push(Post { agent, due, sent: now, ended: now, outcome }));
        }
    }
}

async fn exchange(clients: &Clients, agent: Agent, due: Duration, sent: &mut Duration) -> Result<Side, Failure> {
    let body = body(agent, due);
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path(agent, targets::POST).parse().map_err(|_invalid| Failure::Unsent)?;
    let mut sender = clients.connections.take().await.map_err(|_io| Failure::Connect)?;
    *sent = clients.clock.now();
    let response = sender.send_request(request).await.map_err(|_broken| Failure::Broken)?;
    let (head, answer) = response.into_parts();
    let answer = answer.collect().await.map_err(|_broken| Failure::Broken)?.to_bytes();
    clients.connections.put(sender);
    if head.status != StatusCode::OK {
        return Err(Failure::Status(head.status.as_u16()));
    }
    let side = answered_by(&head.headers, agent)?;
    if answer == body { Ok(side) } else { Err(Failure::Altered) }
}

/// Like no other, so that an answer to another request is noticed.
fn body(agent: Agent, due: Duration) -> Bytes {
    let mut body = format!("{} {} ", agent, due.as_nanos()).into_bytes();
    body.resize(BODY_BYTES, b'.');
    body.into()
}
