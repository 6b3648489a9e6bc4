//! `tasks.mode: relay`: tasks come from the user's own backend, and the fence is kept by us.
//!
//! A task that the backend gives is stored and leased before an agent gets it; from there on it lives like any other.
//! Its end is stored with a letter, which is sent until the backend has taken it ([`post`]). The backend is asked for
//! active instances only, and an exchange with it is never given up halfway because the asker went away.

mod given;
pub(crate) mod post;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bellwether_core::{id::InstanceId, port::heir::Late, time::Millis, traffic::TaskId};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, StatusCode,
    body::Incoming,
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, EXPECT, HOST},
    http::uri::PathAndQuery,
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::{
    body::{self, Body, BoxError, Request, Response},
    desk::{Ask, HandedOut, TakenIn},
    door::Door,
    guard::{Ended, Guarded},
    heir::gate::Visit,
    hop, limits,
    problem::{method_not_allowed, problem, unavailable},
    target::Target,
};

/// One per thread.
pub(crate) struct Backend {
    /// `http://host:port`.
    base: String,
    client: legacy::Client<HttpConnector, Body>,
    is_away: AtomicBool,
}

/// A question for a task, as the agent put it.
pub(crate) struct Question<'a> {
    pub(crate) path: &'a PathAndQuery,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) places: Option<u32>,
    pub(crate) hold: Millis,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("the backend cannot be reached")]
    Unreachable(#[source] BoxError),
    #[error("the backend did not answer in time")]
    Late,
    #[error("the backend broke off its answer")]
    Broken(#[source] BoxError),
}

impl Backend {
    pub(crate) fn new(base: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(limits::BACKEND_CONNECT));
        connector.set_nodelay(true);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits::IDLE_LIMIT)
            .build(connector);
        Self { base: base.to_owned(), client, is_away: AtomicBool::new(false) }
    }

    /// What our own queue holds comes first: tasks that came back. Then the backend is asked.
    pub(crate) async fn next(
        &self,
        door: &Arc<Door>,
        target: &Arc<Target>,
        question: Question<'_>,
    ) -> Result<Option<HandedOut>, Response> {
        let Question { places, hold, .. } = question;
        let instance = target.card.instance;
        if let Some(task) = of_ours(door, instance, places, Millis::ZERO).await? {
            return Ok(Some(task));
        }
        let has_room = door.desk.ask(|tell| Ask::HasRoom { instance, places, tell }).await;
        if !has_room.map_err(|_gone| unavailable())? || !target.asks() {
            return of_ours(door, instance, places, hold).await;
        }
        let (tell, done) = oneshot::channel::<()>();
        let asking = Asking(target.clone());
        let (path, headers) = (question.path.clone(), question.headers.clone());
        // Of its own, so that what the backend gives is not lost with an asker that leaves.
        door.tunnels.spawn({
            let door = door.clone();
            async move {
                exchange(&door, instance, &path, headers).await;
                drop((asking, tell));
            }
        });
        // What the backend gives is the answer to this question, and so is what comes back to us meanwhile.
        let mut answer = pin!(of_ours(door, instance, places, hold.max(limits::BACKEND_PATIENCE)));
        tokio::select! {
            biased;
            answer = answer.as_mut() => return answer,
            _ = done => {}
        }
        let pause = Duration::from_millis(limits::BACKEND_PAUSE.min(hold).0);
        timeout(pause, answer).await.unwrap_or(Ok(None))
    }

    /// The backend's answer to a registration or a heartbeat. None if it is away: that is no matter of the agent's.
    pub(crate) async fn notice(
        &self,
        method: Method,
        path: &PathAndQuery,
        headers: &HeaderMap,
        bytes: Bytes,
    ) -> Option<Response> {
        let answered = timeout(limits::BACKEND_NOTICE, async {
            let response = self.send(method, path.as_str(), headers.clone(), body::full(bytes)).await?;
            let (mut head, body) = response.into_parts();
            let bytes = Limited::new(body, limits::TASK_BYTES).collect().await.map_err(Failed::Broken)?.to_bytes();
            hop::strip(&mut head.headers);
            Ok(Response::from_parts(head, body::full(bytes)))
        });
        let answered = answered.await.unwrap_or(Err(Failed::Late));
        self.note(answered.as_ref().err());
        answered.ok().filter(|response| !response.status().is_server_error())
    }

    /// What is not ours goes to the backend and back as it is, unbuffered.
    pub(crate) async fn pass_on(&self, target: &Arc<Target>, path: &PathAndQuery, request: Request) -> Response {
        let claim = target.hold();
        Visit::of(&request).inspect(|visit| visit.step_out());
        let cut = target.cut_token();
        let (head, incoming) = request.into_parts();
        let headers = passed(&head.headers);
        let sent = self.send(head.method, path.as_str(), headers, incoming.map_err(Into::into).boxed_unsync());
        let answered = tokio::select! {
            answered = sent => answered,
            () = cut.cancelled() => {
                target.count_revoked();
                return problem(StatusCode::BAD_GATEWAY, "cut at the drain limit");
            }
        };
        match answered {
            Ok(response) => {
                let (mut head, incoming) = response.into_parts();
                hop::strip(&mut head.headers);
                let end = move |how, _: &mut _| {
                    if how == Ended::Cut {
                        claim.target().count_revoked();
                    }
                    drop(claim);
                };
                Response::from_parts(head, Guarded::new(incoming, cut, end).boxed_unsync())
            }
            Err(failed) => {
                self.note(Some(&failed));
                problem(StatusCode::BAD_GATEWAY, "the task backend cannot be reached")
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<hyper::Response<Incoming>, Failed> {
        let mut request = hyper::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() =
            format!("{}{path}", self.base).parse().map_err(|error| Failed::Unreachable(Box::new(error)))?;
        *request.headers_mut() = headers;
        self.client.request(request).await.map_err(|error| Failed::Unreachable(Box::new(error)))
    }

    /// Says once that the backend is away, and once that it is back.
    fn note(&self, failed: Option<&Failed>) {
        let was_away = self.is_away.swap(failed.is_some(), Ordering::Relaxed);
        match failed {
            Some(failed) if !was_away => {
                tracing::warn!(
                    error = failed as &dyn std::error::Error,
                    backend = self.base,
                    "the task backend is away"
                );
            }
            None if was_away => tracing::info!(backend = self.base, "the task backend is back"),
            Some(_) | None => {}
        }
    }
}

/// `GET /relay`: what has not arrived at the backend.
pub(crate) async fn outbox(door: &Door, request: &Request) -> Response {
    if *request.method() != Method::GET {
        return method_not_allowed("GET");
    }
    match door.desk.ask(Ask::Outbox).await {
        Ok(outbox) => body::json(StatusCode::OK, &outbox),
        Err(_gone) => unavailable(),
    }
}

/// The headers of an agent that its backend gets too.
pub(crate) fn passed(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    hop::strip(&mut headers);
    for ours in [HOST, CONTENT_LENGTH, EXPECT] {
        headers.remove(ours);
    }
    headers
}

/// Lets others ask the backend for the instance again.
struct Asking(Arc<Target>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asked();
    }
}

async fn of_ours(
    door: &Door,
    instance: InstanceId,
    places: Option<u32>,
    hold: Millis,
) -> Result<Option<HandedOut>, Response> {
    door.desk.ask(|tell| Ask::Next { instance, places, hold, tell }).await.map_err(|_gone| unavailable())
}

/// Asks the backend and makes ours what it gives.
async fn exchange(door: &Door, instance: InstanceId, path: &PathAndQuery, headers: HeaderMap) {
    let Some(backend) = &door.backend else { return };
    let answered = timeout(limits::BACKEND_ASK, backend.ask(path, headers)).await.unwrap_or(Err(Failed::Late));
    backend.note(answered.as_ref().err());
    for (id, body) in answered.unwrap_or_default() {
        take_in(door, instance, id, body).await;
    }
}

impl Backend {
    async fn ask(&self, path: &PathAndQuery, mut headers: HeaderMap) -> Result<Vec<(TaskId, Vec<u8>)>, Failed> {
        // It is us who read the answer.
        headers.remove(ACCEPT_ENCODING);
        let response = self.send(Method::GET, path.as_str(), headers, body::empty()).await?;
        let status = response.status();
        if !status.is_success() {
            tracing::warn!(%status, path = path.as_str(), "the task backend refused a question for a task");
            return Ok(Vec::new());
        }
        let body = Limited::new(response.into_body(), limits::BACKEND_TASK_BYTES);
        let bytes = body.collect().await.map_err(Failed::Broken)?.to_bytes();
        Ok(given::tasks(&bytes).unwrap_or_else(|why| {
            tracing::error!(why, path = path.as_str(), "the task backend gave what is no task");
            Vec::new()
        }))
    }
}

/// The backend takes it for given, so it is not dropped because there is no room at the moment.
async fn take_in(door: &Door, instance: InstanceId, id: TaskId, body: Vec<u8>) {
    loop {
        let (this, given) = (id.clone(), body.clone());
        match door.desk.ask(|tell| Ask::TakeIn { instance, id: this, body: given, tell }).await {
            Err(_) if door.desk.is_closed() => {
                let body = String::from_utf8_lossy(&body).into_owned();
                return door.desk.leave(Late::Given { instance, id, body });
            }
            Ok(TakenIn::Refused) | Err(_) => {
                tracing::warn!(task = %id, "a task of the backend cannot be taken in yet");
                sleep(Duration::from_secs(1)).await;
            }
            Ok(taken_in) => return tracing::debug!(task = %id, %instance, ?taken_in, "the backend gave a task"),
        }
    }
}
