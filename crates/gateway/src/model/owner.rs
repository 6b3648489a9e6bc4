//! The thread that owns admission and the connections to the model server.
//!
//! Callers sit on several single-threaded runtimes between which connections cannot move, so all of this
//! lives on one of its own: one scheduler without a lock, one pool whose size does not grow with callers.
//! Bytes cross to the caller's thread through [`super::relay`].

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bellwether_core::{
    id::ModelName,
    inference::{Limits, NotPermitted},
    observation::Calls,
    port::heir::CallHeld,
    time::Millis,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::json;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::LocalSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    InFlight,
    admission::{Admission, Board},
    dialect::Dialect,
    exchange::{self, Outcome, Passed, Unanswered},
    inbound::HeldBody,
    upstream::{Outgoing, Upstream},
    watch::Figures,
};
use crate::{
    body::Response,
    breakers::{Breakers, Pass},
    caller::Caller,
    observe::{Key, Recorder},
    waits::Waits,
    work::CallSigns,
};

/// Requests that need no slot and are under way at once.
const READING_MAX: usize = 16;
/// A model that takes longer to load counts as one that cannot be loaded.
const LOAD_LIMIT: Duration = Duration::from_mins(5);
/// Longer than [`Limits::resident_for`], so that a model that the scheduler counts on is still there.
const KEEP_ALIVE: &str = "10m";
const SWEEP: Duration = Duration::from_secs(5);
const LOAD_ANSWER_MAX: usize = 1 << 20;

/// A request as it arrives on the thread.
pub(super) struct Call {
    pub(super) outgoing: Outgoing,
    pub(super) body: HeldBody,
    pub(super) dialect: Dialect,
    /// Who is charged and for which model; none for what needs no slot.
    pub(super) charge: Option<(Caller, ModelName)>,
    pub(super) answer: oneshot::Sender<Response>,
}

/// What the thread is told.
pub(super) enum Word {
    Call(Box<Call>),
    /// What another gateway has in flight, and the model that it left loaded.
    Hold {
        calls: Vec<CallHeld>,
        resident: Option<ModelName>,
    },
    /// Another gateway grants the slots from here on.
    Close(oneshot::Sender<()>),
    InFlight(oneshot::Sender<InFlight>),
}

/// Where the thread writes down what it sees.
#[derive(Clone)]
pub(crate) struct Books {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) breakers: Arc<Breakers>,
}

pub(super) struct Owner {
    upstream: Upstream,
    admission: Rc<Admission>,
    reading: Semaphore,
    books: Books,
}

/// Runs until every sender of calls is gone. Calls under way then end with the set that owns them.
pub(super) async fn run(
    upstream: Upstream,
    limits: Limits,
    board: Arc<Board>,
    books: Books,
    words: mpsc::Receiver<Word>,
) {
    let (admission, to_load) = Admission::new(limits, board);
    let owner = Rc::new(Owner { upstream, admission, reading: Semaphore::new(READING_MAX), books });
    LocalSet::new()
        .run_until(async {
            tokio::task::spawn_local(load_all(Rc::clone(&owner), to_load));
            accept(&owner, words).await;
        })
        .await;
}

async fn accept(owner: &Rc<Owner>, mut words: mpsc::Receiver<Word>) {
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            word = words.recv() => match word {
                Some(Word::Call(call)) => drop(tokio::task::spawn_local(serve(Rc::clone(owner), *call))),
                Some(Word::Hold { calls, resident }) => owner.admission.hold(&calls, resident),
                Some(Word::Close(tell)) => {
                    owner.admission.close();
                    tell.send(()).ok();
                }
                // Who asked may be gone.
                Some(Word::InFlight(tell)) => drop(tell.send(owner.admission.in_flight())),
                None => return,
            },
            _ = sweep.tick() => owner.upstream.drop_stale(),
        }
    }
}

async fn load_all(owner: Rc<Owner>, mut to_load: mpsc::Receiver<ModelName>) {
    while let Some(model) = to_load.recv().await {
        let started = Instant::now();
        let ok = load(&owner.upstream, &model).await;
        tracing::debug!(%model, ok, ms = started.elapsed().as_millis(), "loaded");
        owner.admission.loaded(&model, ok);
    }
}

/// Loads on a connection of the gateway's own, so that a caller who leaves cannot abort it.
async fn load(upstream: &Upstream, model: &ModelName) -> bool {
    let body = json!({"model": model.as_str(), "keep_alive": KEEP_ALIVE, "stream": false});
    let outgoing = Outgoing {
        method: Method::POST,
        path_and_query: "/api/generate".to_owned(),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
        body: Bytes::from(body.to_string()),
    };
    // Nobody listens at the other end, and nobody leaves either.
    let (mut answer, _stays) = oneshot::channel();
    let loading = async {
        let (response, connection) = exchange::reach(upstream, &outgoing, &mut answer).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LOAD_ANSWER_MAX).collect().await;
        if body.is_ok() {
            upstream.keep(connection).await;
        }
        Ok::<_, Unanswered>(body.ok().map(|body| (status, body.to_bytes())))
    };
    match timeout(LOAD_LIMIT, loading).await {
        Ok(Ok(Some((status, _)))) if status.is_success() => true,
        Ok(Ok(Some((status, body)))) => {
            let said = String::from_utf8_lossy(&body);
            tracing::warn!(%model, %status, %said, "the model server did not load a model");
            false
        }
        Ok(Ok(None) | Err(_)) => {
            tracing::warn!(%model, "the model server broke off while it loaded a model");
            false
        }
        Err(_late) => {
            tracing::warn!(%model, "the model server took too long to load a model");
            false
        }
    }
}

async fn serve(owner: Rc<Owner>, call: Call) {
    let Call { outgoing, body, dialect, charge, mut answer } = call;
    match charge {
        Some((caller, model)) => {
            let account = Account { owner: &owner, key: key(&caller, &model), caller };
            admit(account, model, &outgoing, dialect, answer).await;
        }
        None => {
            let permit = tokio::select! {
                permit = owner.reading.acquire() => permit,
                () = answer.closed() => return,
            };
            if permit.is_ok() {
                exchange::pass(&owner.upstream, &outgoing, dialect, answer, &|_| ()).await;
            }
        }
    }
    drop(body);
}

async fn admit(
    account: Account<'_>,
    model: ModelName,
    outgoing: &Outgoing,
    dialect: Dialect,
    mut answer: oneshot::Sender<Response>,
) {
    let owner = account.owner;
    let mut pass = match account.pass() {
        Ok(pass) => pass,
        Err(refused) => return account.refuse(answer, dialect.not_permitted(refused)),
    };
    if owner.admission.is_closed() {
        return;
    }
    let mut permit = match owner.admission.enqueue(account.caller.agent.clone(), model) {
        Ok(permit) => permit,
        Err(refused) => return account.refuse(answer, dialect.refused(refused)),
    };
    let enqueued = Instant::now();
    let excused = account.caller.signs.as_ref().map(CallSigns::excused);
    let granted = tokio::select! {
        biased;
        granted = permit.granted() => granted,
        () = answer.closed() => false,
    };
    drop(excused);
    account.waited(enqueued.elapsed());
    if !granted {
        if owner.admission.is_closed() && !answer.is_closed() {
            // Unanswered it goes back, and on to whoever grants the slots; there it is counted.
            return;
        }
        account.count(|calls| calls.cancelled += 1);
        return;
    }
    if let Some(Err(refused)) = pass.as_mut().map(Pass::confirm) {
        return account.refuse(answer, dialect.not_permitted(refused));
    }
    let dispatched = Instant::now();
    let heard = |figures: Figures| account.waited_for_load(figures.load);
    let passed = exchange::pass(&owner.upstream, outgoing, dialect, answer, &heard).await;
    drop(permit);
    account.ended(&passed, dispatched.elapsed());
    if let Some(pass) = pass {
        pass.ended(passed.end);
    }
}

fn key(caller: &Caller, model: &ModelName) -> Key {
    Key { agent: caller.agent.clone(), model: model.clone(), drawn: caller.side, served: caller.side }
}

/// Where a call is written down.
struct Account<'a> {
    owner: &'a Owner,
    key: Key,
    caller: Caller,
}

impl Account<'_> {
    /// The breaker's leave. Who is no instance needs none.
    fn pass(&self) -> Result<Option<Pass>, NotPermitted> {
        self.caller.instance.map(|_| self.owner.books.breakers.admit(&self.key)).transpose()
    }

    fn refuse(&self, answer: oneshot::Sender<Response>, refusal: Response) {
        self.count(|calls| calls.refused += 1);
        // If the caller has left meanwhile there is nobody to tell.
        answer.send(refusal).ok();
    }

    fn count(&self, count: impl FnOnce(&mut Calls)) {
        self.owner.books.recorder.calls(&self.key, count);
    }

    fn waited(&self, wait: Duration) {
        self.owner.books.waits.add(&self.caller, micros(wait));
        self.count(|calls| calls.queue_wait.record(micros(wait)));
    }

    fn waited_for_load(&self, load: Millis) {
        if load.0 > 0 {
            self.owner.books.waits.add(&self.caller, load.0 * 1000);
        }
    }

    fn ended(&self, passed: &Passed, held: Duration) {
        let Passed { outcome, end: _, first_byte, service, figures } = *passed;
        self.count(|calls| {
            match outcome {
                Outcome::Succeeded => {
                    calls.succeeded += 1;
                    calls.service.record(micros(service));
                    if let Some(first_byte) = first_byte {
                        calls.first_byte.record(micros(first_byte));
                    }
                }
                Outcome::Failed => calls.failed += 1,
                Outcome::Unreachable => {
                    calls.failed += 1;
                    calls.unreachable += 1;
                }
                Outcome::Cancelled => calls.cancelled += 1,
            }
            calls.prompt_tokens += figures.prompt_tokens;
            calls.output_tokens += figures.output_tokens;
            calls.slot_micros += micros(held);
        });
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
