//! Model calls out of agents: admission, forwarding, timing.
//!
//! [`Model::serve`] reads a request whole, finds the model that it names and hands it to the thread that owns
//! the model server ([`owner`]). Requests and answers pass byte for byte. Never more calls are in flight than
//! slots; what only reads passes without a slot; what would change the server for everybody is refused.

mod admission;
mod carriage;
mod dialect;
mod exchange;
mod inbound;
mod owner;
mod probe;
mod relay;
mod route;
mod upstream;
mod watch;

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use bellwether_core::{id::ModelName, inference::Limits, port::heir::CallHeld};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot};

use self::{
    admission::Board,
    dialect::Dialect,
    inbound::{HeldBody, Room},
    owner::{Call, Word},
    route::Verb,
    upstream::{Outgoing, Upstream},
};
pub(crate) use self::{
    owner::Books,
    probe::{Prober, Probes},
};
use crate::{
    body::{Request, Response},
    caller::Caller,
};

/// Calls on their way to the owner's thread. Those that wait for a slot are bounded by admission.
const HANDED_OVER_MAX: usize = 256;

pub(crate) struct Model {
    words: mpsc::Sender<Word>,
    board: Arc<Board>,
    room: Room,
}

/// What holds a slot at the moment.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    pub(crate) calls: Vec<CallHeld>,
    pub(crate) resident: Option<ModelName>,
}

/// A call that another gateway has to decide about: it is as it came.
pub(crate) type NotBegun = hyper::Request<Full<Bytes>>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelGauges {
    pub(crate) slots_busy: u32,
    /// The most slots that were busy since the gauges were last read.
    pub(crate) slots_peak: u32,
    pub(crate) calls_waiting: u32,
    /// Switches of the loaded model since the gauges were last read.
    pub(crate) model_switches: u32,
}

impl Model {
    /// Starts the owner's thread; it ends when the model is dropped. A URL that cannot be used is logged, and
    /// calls fail with that reason.
    pub(crate) fn start(upstream_url: &str, slots: u32, books: Books) -> Arc<Self> {
        Self::with_limits(upstream_url, Limits::for_slots(slots), books)
    }

    fn with_limits(upstream_url: &str, limits: Limits, books: Books) -> Arc<Self> {
        let (words, arriving) = mpsc::channel(HANDED_OVER_MAX);
        let board = Arc::new(Board::default());
        let upstream = Upstream::new(upstream_url);
        let shown = Arc::clone(&board);
        let started = thread::Builder::new().name("model".to_owned()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(owner::run(upstream, limits, shown, books, arriving)),
                Err(error) => tracing::error!(%error, "no runtime for model calls"),
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread for model calls");
        }
        Arc::new(Self { words, board, room: Room::new() })
    }

    /// `path_and_query` as the model server knows it, without what the gateway puts in front. A call that had no slot when
    /// the slots went to another gateway comes back.
    pub(crate) async fn serve(
        &self,
        caller: Caller,
        path_and_query: &str,
        request: Request,
    ) -> Result<Response, Box<NotBegun>> {
        let (verb, dialect) = route::classify(request.method(), path_and_query);
        match self.readied(verb, dialect, request).await {
            Ok(readied) => self.pass(caller, path_and_query, dialect, readied).await,
            Err(refusal) => Ok(refusal),
        }
    }

    /// Read whole, if it is one that is passed on.
    async fn readied(&self, verb: Verb, dialect: Dialect, request: Request) -> Result<Readied, Response> {
        match verb {
            Verb::Infer | Verb::Read => {}
            Verb::Manage => {
                let message = "the gateway does not pass on what changes the model server for everybody";
                return Err(dialect.answer(StatusCode::FORBIDDEN, message));
            }
            Verb::WrongMethod => return Err(dialect.answer(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")),
            Verb::Unknown => {
                return Err(dialect.answer(StatusCode::NOT_FOUND, "no such path in the model server's API"));
            }
        }
        let (head, body) = request.into_parts();
        let body = self.room.read(body).await.map_err(|error| dialect.answer(error.status(), &error.to_string()))?;
        let model = match verb {
            Verb::Infer => match inbound::named_model(&body.bytes) {
                Ok(model) if route::is_cloud(&model) => {
                    let message = format!("{model} would run in a cloud; the gateway does not pass that on");
                    return Err(dialect.answer(StatusCode::FORBIDDEN, &message));
                }
                Ok(model) => Some(model),
                Err(message) => return Err(dialect.answer(StatusCode::BAD_REQUEST, &message)),
            },
            Verb::Read | Verb::Manage | Verb::WrongMethod | Verb::Unknown => None,
        };
        Ok(Readied { head, body, model })
    }

    async fn pass(
        &self,
        mut caller: Caller,
        path_and_query: &str,
        dialect: Dialect,
        readied: Readied,
    ) -> Result<Response, Box<NotBegun>> {
        let Readied { head, body, model } = readied;
        let hold = caller.hold.take();
        let outgoing = Outgoing {
            method: head.method.clone(),
            path_and_query: if path_and_query.is_empty() { "/" } else { path_and_query }.to_owned(),
            headers: inbound::forwarded(head.headers.clone()),
            body: body.bytes.clone(),
        };
        let bytes = body.bytes.clone();
        let charge = model.map(|model| (caller, model));
        let (answer, answered) = oneshot::channel();
        if self.words.send(Word::Call(Box::new(Call { outgoing, body, dialect, charge, answer }))).await.is_err() {
            return Ok(gone(dialect));
        }
        match answered.await {
            Ok(response) => Ok(response.map(|body| relay::holding(body, hold))),
            Err(_) if self.board.closed.load(Ordering::Acquire) => {
                Err(Box::new(NotBegun::from_parts(head, Full::new(bytes))))
            }
            Err(_) => Ok(gone(dialect)),
        }
    }

    /// The calls that another gateway has in flight hold slots here, until a later word no longer names them.
    pub(crate) async fn hold(&self, calls: Vec<CallHeld>, resident: Option<ModelName>) {
        if self.words.send(Word::Hold { calls, resident }).await.is_err() {
            tracing::error!("the model's thread is gone, and what holds its slots is not known");
        }
    }

    /// No call gets a slot any more; those that wait come back to where they came from.
    pub(crate) async fn close(&self) {
        self.ask(Word::Close).await;
    }

    pub(crate) async fn in_flight(&self) -> InFlight {
        self.ask(Word::InFlight).await.unwrap_or_default()
    }

    /// None if the thread is gone.
    async fn ask<T>(&self, word: impl FnOnce(oneshot::Sender<T>) -> Word) -> Option<T> {
        let (tell, told) = oneshot::channel();
        self.words.send(word(tell)).await.ok()?;
        told.await.ok()
    }

    /// Peak and switches begin anew with each reading, so one reader reads them, once a second.
    pub(crate) fn gauges(&self) -> ModelGauges {
        let slots_busy = self.board.slots_busy.load(Ordering::Relaxed);
        ModelGauges {
            slots_busy,
            slots_peak: self.board.slots_peak.swap(slots_busy, Ordering::Relaxed).max(slots_busy),
            calls_waiting: self.board.calls_waiting.load(Ordering::Relaxed),
            model_switches: self.board.model_switches.swap(0, Ordering::Relaxed),
        }
    }
}

/// A request that was read whole.
struct Readied {
    head: hyper::http::request::Parts,
    body: HeldBody,
    /// The one that it wants to work.
    model: Option<ModelName>,
}

/// Whether a request asks the model to work. What only reads says nothing of who makes it: programs look whether the
/// model server is there while their main loop hangs.
pub(crate) fn infers(method: &Method, path_and_query: &str) -> bool {
    route::classify(method, path_and_query).0 == Verb::Infer
}

fn gone(dialect: Dialect) -> Response {
    dialect.answer(StatusCode::BAD_GATEWAY, "the gateway's model thread is gone")
}

#[cfg(test)]
mod tests;
