//! Model calls out of agents: admission, forwarding, timing.
//!
//! [`Model::serve`] reads a request whole, finds the model that it names and begins its call on the same thread
//! ([`owner`]). Requests and answers pass byte for byte. Never more calls are in flight than
//! slots; what only reads passes without a slot; what would change the server for everybody, or be computed in a cloud, is
//! refused unless it is allowed, and then goes [`straight`] through.

mod admission;
mod call;
mod carriage;
mod dialect;
mod dispatched;
mod exchange;
mod flight;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod inbound;
mod model_server;
mod owner;
mod probe;
mod relay;
mod route;
mod settings;
mod straight;
mod upstream;
mod wanted;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    thread,
};

use bellwether_core::{
    id::ModelName,
    inference::{Class, Limits, NoClass, Runner},
    port::heir::CallHeld,
    spec::Allow,
    time::Millis,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, StatusCode, body::Body as HttpBody, http::request::Parts};
use tokio::sync::{mpsc, oneshot};

pub use self::settings::{ModelSettings, UpstreamSettings};
use self::{
    admission::Board,
    call::{Call, Charge},
    dialect::Dialect,
    inbound::{HeldBody, Room},
    owner::{Owner, Word},
    route::Verb,
    upstream::Outgoing,
    wanted::Wanted,
};
pub(crate) use self::{
    owner::{Books, Lane},
    probe::{Prober, Probes},
    straight::Straight,
};
use crate::{
    body::{BoxError, Request, Response},
    breakers::Shown,
    caller::Caller,
    hop,
    metrics::Slots,
    prefer,
};

/// Words on their way to the owner's thread.
const WORDS_MAX: usize = 16;

pub(crate) struct Model {
    words: mpsc::Sender<Word>,
    owner: Arc<Owner>,
    upstreams: Vec<UpstreamSettings>,
    board: Arc<Board>,
    room: Room,
    allow: Allow,
    contexts: BTreeMap<ModelName, Option<u64>>,
    straight: Straight,
}

/// What holds a slot at the moment.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    pub(crate) calls: Vec<CallHeld>,
    pub(crate) resident: Option<Runner>,
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
    pub(crate) fn start(settings: &ModelSettings, books: Books) -> Arc<Self> {
        Self::with_limits(settings, settings.limits(), books)
    }

    fn with_limits(settings: &ModelSettings, limits: Limits, books: Books) -> Arc<Self> {
        let (words, arriving) = mpsc::channel(WORDS_MAX);
        let board = Arc::new(Board::default());
        let (owner, to_do) = Owner::new(&settings.upstreams, limits, Arc::clone(&board), books);
        let owns = Arc::clone(&owner);
        let started = thread::Builder::new().name("model".to_owned()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(owner::run(owns, to_do, arriving)),
                Err(error) => tracing::error!(%error, "no runtime for model calls"),
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "no thread for model calls");
        }
        let url = settings.upstreams.first().map_or("", |upstream| &upstream.url);
        let (allow, contexts) = (settings.allow, settings.contexts.clone());
        let (upstreams, straight) = (settings.upstreams.clone(), Straight::new(url));
        Arc::new(Self { words, owner, upstreams, board, room: Room::new(), allow, contexts, straight })
    }

    /// Made on each runtime thread.
    pub(crate) fn lane(&self) -> Lane {
        Lane::new(self.owner.clone(), &self.upstreams)
    }

    /// `path_and_query` as the model server knows it, without what the gateway puts in front. A call that had no slot when
    /// the slots went to another gateway comes back.
    pub(crate) async fn serve(
        &self,
        lane: &Lane,
        caller: Caller,
        path_and_query: &str,
        request: Request,
    ) -> Result<Response, Box<NotBegun>> {
        let (verb, dialect) = route::classify(request.method(), path_and_query);
        if verb == Verb::Manage && self.allow.manage {
            return Ok(self.pass_straight(caller, path_and_query, request).await);
        }
        match self.readied(verb, dialect, request).await {
            Ok(Readied { head, body, work: Some(work) }) if route::is_cloud(&work.wanted.runner.model) => {
                let request = hyper::Request::from_parts(head, Full::new(body.bytes));
                Ok(self.pass_straight(caller, path_and_query, request).await)
            }
            Ok(readied) => self.pass(lane, caller, path_and_query, dialect, readied).await,
            Err(refusal) => Ok(refusal),
        }
    }

    /// Read whole, if it is one that is passed on.
    async fn readied(&self, verb: Verb, dialect: Dialect, request: Request) -> Result<Readied, Response> {
        match verb {
            Verb::Infer | Verb::Read => {}
            Verb::Manage => {
                let message = "the gateway does not pass on what changes the model server for everybody, unless it is allowed \
                               to: `allow: {manage: true}`, or --allow-manage";
                return Err(dialect.answer(StatusCode::FORBIDDEN, message));
            }
            Verb::WrongMethod => return Err(dialect.answer(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")),
            Verb::Unknown => {
                return Err(dialect.answer(StatusCode::NOT_FOUND, "no such path in the model server's API"));
            }
        }
        let (head, body) = request.into_parts();
        let body = self.room.read(body).await.map_err(|error| dialect.answer(error.status(), &error.to_string()))?;
        let work = match verb {
            Verb::Infer => Some(self.work(dialect, &head, &body.bytes)?),
            Verb::Read | Verb::Manage | Verb::WrongMethod | Verb::Unknown => None,
        };
        Ok(Readied { head, body, work })
    }

    /// What a request wants to be computed, if that may be.
    fn work(&self, dialect: Dialect, head: &Parts, body: &[u8]) -> Result<Work, Response> {
        let bad = |message: &str| dialect.answer(StatusCode::BAD_REQUEST, message);
        let mut wanted = Wanted::read(body).map_err(|message| bad(&message))?;
        let model = &wanted.runner.model;
        if route::is_cloud(model) && !self.allow.cloud {
            let message = format!(
                "{model} would run in a cloud; the gateway does not pass that on, unless it is allowed to: \
                 `allow: {{cloud: true}}`, or --allow-cloud"
            );
            return Err(dialect.answer(StatusCode::FORBIDDEN, &message));
        }
        let context = self.contexts.get(model).copied().filter(|_| dialect == Dialect::Native);
        if let Some(size) = context {
            wanted.set_context(size);
        }
        let class = match head.headers.get(inbound::CLASS).map(|value| value.to_str().unwrap_or_default().parse()) {
            Some(class) => class.map_err(|error: NoClass| bad(&error.to_string()))?,
            None => Class::default(),
        };
        Ok(Work { wanted, context, class, patience: prefer::wait(&head.headers) })
    }

    /// What needs no slot because it does not use the model server's own.
    async fn pass_straight<B>(
        &self,
        mut caller: Caller,
        path_and_query: &str,
        mut request: hyper::Request<B>,
    ) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let hold = caller.hold.take();
        request.headers_mut().remove(inbound::TASK);
        self.straight.answer(path_and_query, request).await.map(|body| relay::holding(body, hold))
    }

    async fn pass(
        &self,
        lane: &Lane,
        mut caller: Caller,
        path_and_query: &str,
        dialect: Dialect,
        readied: Readied,
    ) -> Result<Response, Box<NotBegun>> {
        let Readied { mut head, body, work } = readied;
        let hold = caller.hold.take();
        let sent = match work.as_ref().and_then(|work| work.context) {
            Some(size) => wanted::with_context(&body.bytes, size),
            None => body.bytes.clone(),
        };
        hop::strip(&mut head.headers);
        let outgoing = Outgoing {
            method: &head.method,
            path_and_query: if path_and_query.is_empty() { "/" } else { path_and_query },
            headers: &head.headers,
            body: sent,
        };
        let operation = route::operation(path_and_query);
        let charge = work.map(|work| {
            let Work { wanted, context: _, class, patience } = work;
            Charge { caller, wanted, operation, class, patience }
        });
        match lane.serve(Call { outgoing, dialect, charge }).await {
            Some(response) => Ok(response.map(|body| relay::holding(body, hold))),
            None if self.board.closed.load(Ordering::Acquire) => {
                Err(Box::new(NotBegun::from_parts(head, Full::new(body.bytes))))
            }
            None => Ok(gone(dialect)),
        }
    }

    /// The calls that another gateway has in flight hold slots here, until a later word no longer names them.
    pub(crate) async fn hold(&self, calls: Vec<CallHeld>, resident: Option<Runner>) {
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

    /// How slots and servers stand, for metrics.
    pub(crate) fn slots(&self) -> Slots {
        let Board { slots_busy, slots_doubtful, calls_waiting, wait_max, .. } = &*self.board;
        Slots {
            slots: self.upstreams.iter().map(|upstream| upstream.slots).sum(),
            busy: slots_busy.load(Ordering::Relaxed),
            doubtful: slots_doubtful.load(Ordering::Relaxed),
            waiting: calls_waiting.load(Ordering::Relaxed),
            wait_max: Millis(wait_max.load(Ordering::Relaxed)).as_secs_f64(),
            servers: self.owner.servers_up(&self.upstreams),
        }
    }

    /// The breakers of the model servers.
    pub(crate) fn breakers(&self) -> Vec<Shown> {
        self.owner.breakers(&self.upstreams)
    }

    /// Slots that are busy at this moment, and calls that wait.
    pub(crate) fn load(&self) -> (u32, u32) {
        (self.board.slots_busy.load(Ordering::Relaxed), self.board.calls_waiting.load(Ordering::Relaxed))
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
    head: Parts,
    body: HeldBody,
    /// None where it only reads.
    work: Option<Work>,
}

/// What a request wants to be computed, and how.
struct Work {
    wanted: Wanted,
    /// The context size that it is sent with instead of its own.
    context: Option<Option<u64>>,
    class: Class,
    patience: Option<Millis>,
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
