//! What all model calls share: admission, the model servers, and what is written down.
//!
//! A call stays on the runtime thread that accepted it, with connections of that thread ([`Lane`]); only admission is
//! shared. What goes on after its caller has left, until the model server is done with it, is a task there. A thread of
//! its own loads models, looks after the servers, and is told of other gateways.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use bellwether_core::{
    id::ModelName,
    inference::{CallEnd, Limits, Permitted, Runner, RunnerOptions, ServerId},
    port::heir::CallHeld,
    time::Millis,
};
use serde::Deserialize;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::task::TaskTracker;

use super::{
    InFlight,
    admission::{Admission, Board, Chore},
    call::{self, Call},
    flight::Flight,
    model_server::{ModelServer, Own},
    settings::UpstreamSettings,
    upstream::Upstream,
};
use crate::{
    body::Response,
    breakers::{Breakers, Shown},
    observe::Recorder,
    waits::Waits,
};

/// Requests that need no slot and are under way at once.
const READING_MAX: usize = 16;
/// A model that takes longer to load counts as one that cannot be loaded.
const LOAD_LIMIT: Duration = Duration::from_mins(5);
const SWEEP: Duration = Duration::from_secs(5);
/// Calls that are looked after before those that have ended are first forgotten.
const FLIGHTS: usize = 64;
/// Nothing comes from a model server for so long: what was asked of it is given up.
const STALL_LIMIT: Duration = Duration::from_mins(10);
/// How often it is asked which models it has.
const LISTED_EVERY: Duration = Duration::from_secs(30);

/// What the thread is told.
pub(super) enum Word {
    /// What another gateway has in flight, and what it left loaded.
    Hold {
        calls: Vec<CallHeld>,
        resident: Option<Runner>,
    },
    /// Another gateway grants the slots from here on.
    Close(oneshot::Sender<()>),
    InFlight(oneshot::Sender<InFlight>),
}

/// Where it is written down what becomes of calls.
#[derive(Clone)]
pub(crate) struct Books {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) breakers: Arc<Breakers>,
}

/// A runtime thread's own way to the model servers.
pub(crate) struct Lane(Arc<Ways>);

/// What the calls of a thread have in common.
pub(super) struct Ways {
    pub(super) owner: Arc<Owner>,
    pub(super) upstreams: Vec<Upstream>,
    /// What goes on after callers have left.
    after: TaskTracker,
    runtime: Handle,
}

impl Lane {
    /// On the thread's runtime.
    pub(super) fn new(owner: Arc<Owner>, upstreams: &[UpstreamSettings]) -> Self {
        let upstreams = upstreams.iter().map(|it| Upstream::new(&it.url)).collect();
        Self(Arc::new(Ways { owner, upstreams, after: TaskTracker::new(), runtime: Handle::current() }))
    }

    /// None if it was not begun.
    pub(super) async fn serve(&self, call: Call<'_>) -> Option<Response> {
        call::serve(&self.0, call).await
    }

    pub(crate) fn sweep(&self) {
        self.0.upstreams.iter().for_each(Upstream::drop_stale);
    }

    /// Until every call is accounted for.
    pub(crate) async fn finished(&self) {
        self.0.after.close();
        self.0.after.wait().await;
    }
}

impl Ways {
    /// From whatever thread.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.after.spawn_on(task, &self.runtime);
    }
}

pub(super) struct Owner {
    servers: Vec<ModelServer>,
    pub(super) admission: Arc<Admission>,
    pub(super) reading: Arc<Semaphore>,
    pub(super) books: Books,
    /// Of the weights that names stand for, where a server told them.
    digests: RwLock<HashMap<ModelName, Arc<str>>>,
    flights: Mutex<Vec<Weak<Flight>>>,
    /// The options with which each model was loaded last.
    loaded: Mutex<HashMap<ModelName, RunnerOptions>>,
}

/// Runs until every sender of words is gone.
pub(super) async fn run(owner: Arc<Owner>, mut to_do: mpsc::UnboundedReceiver<Chore>, mut words: mpsc::Receiver<Word>) {
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // They end with the thread.
    let mut chores = JoinSet::new();
    chores.spawn(list_all(owner.clone()));
    loop {
        tokio::select! {
            word = words.recv() => match word {
                Some(Word::Hold { calls, resident }) => owner.admission.hold(&calls, resident),
                Some(Word::Close(tell)) => {
                    owner.admission.close();
                    tell.send(()).ok();
                }
                // Who asked may be gone.
                Some(Word::InFlight(tell)) => drop(tell.send(owner.admission.in_flight())),
                None => return,
            },
            Some(chore) = to_do.recv() => drop(chores.spawn(owner.clone().does(chore))),
            Some(done) = chores.join_next() => {
                if let Err(error) = done {
                    tracing::error!(%error, "what was to be done for the model servers came to no end");
                }
            }
            _ = sweep.tick() => owner.sweep(&mut chores),
        }
    }
}

/// Asks the servers for their models: which of them has what, and which names are the same weights.
async fn list_all(owner: Arc<Owner>) {
    #[derive(Deserialize)]
    struct Listed {
        models: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        #[serde(default)]
        digest: Option<Arc<str>>,
    }
    loop {
        for server in &owner.servers {
            // Who cannot be asked now is asked again; who does not know the question has what it has.
            let Own::Done(said) = server.read("/api/tags").await else { continue };
            let Ok(Listed { models }) = serde_json::from_slice(&said) else { continue };
            let names: BTreeSet<ModelName> = models.iter().map(|model| ModelName::new(&model.name)).collect();
            let told = models.into_iter().filter_map(|model| Some((ModelName::new(&model.name), model.digest?)));
            owner.digests.write().unwrap_or_else(PoisonError::into_inner).extend(told);
            owner.admission.has(server.id, names);
        }
        sleep(LISTED_EVERY).await;
    }
}

impl Owner {
    pub(super) fn new(
        upstreams: &[UpstreamSettings],
        limits: Limits,
        board: Arc<Board>,
        books: Books,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Chore>) {
        let (admission, to_do) = Admission::new(limits, board);
        let servers = upstreams.iter().enumerate().map(|(at, it)| ModelServer::new(ServerId(at), &it.url)).collect();
        let reading = Arc::new(Semaphore::new(READING_MAX));
        let (digests, flights, loaded) = (RwLock::default(), Mutex::default(), Mutex::default());
        (Arc::new(Self { servers, admission, reading, books, digests, flights, loaded }), to_do)
    }

    pub(super) fn server(&self, id: ServerId) -> &ModelServer {
        &self.servers[id.0]
    }

    /// For what needs no slot.
    pub(super) fn any_server(&self) -> &ModelServer {
        self.servers.iter().find(|server| self.admission.is_up(server.id)).unwrap_or(&self.servers[0])
    }

    /// Whether somebody else than this one can be tried.
    pub(super) fn has_another(&self, than: ServerId) -> bool {
        self.servers.iter().any(|server| server.id != than && self.admission.is_up(server.id))
    }

    /// How long nobody can be called; none if somebody can.
    pub(super) fn all_down_for(&self) -> Option<Millis> {
        let down = |server: &ModelServer| (!self.admission.is_up(server.id)).then(|| server.opens_in());
        let waits: Option<Vec<Option<Millis>>> = self.servers.iter().map(down).collect();
        waits.map(|waits| waits.into_iter().flatten().min().unwrap_or(Millis::from_secs(1)))
    }

    /// Each, and whether calls are sent there.
    pub(super) fn servers_up(&self, upstreams: &[UpstreamSettings]) -> Vec<(String, bool)> {
        let up = |server: &ModelServer| self.admission.is_up(server.id);
        upstreams.iter().zip(&self.servers).map(|(it, server)| (it.url.clone(), up(server))).collect()
    }

    pub(super) fn breakers(&self, upstreams: &[UpstreamSettings]) -> Vec<Shown> {
        upstreams.iter().zip(&self.servers).map(|(it, server)| server.shown(format!("server/{}", it.url))).collect()
    }

    /// With the digest, where it is known.
    pub(super) fn named(&self, runner: Runner) -> Runner {
        let digest = self.digests.read().unwrap_or_else(PoisonError::into_inner).get(&runner.model).cloned();
        Runner { digest, ..runner }
    }

    pub(super) fn take_off(&self) -> Arc<Flight> {
        let flight = Arc::new(Flight::new());
        let mut flights = self.flights();
        if flights.len() == flights.capacity() {
            flights.retain(|flight| flight.strong_count() > 0);
            let room = flights.len().max(FLIGHTS);
            flights.reserve(room);
        }
        flights.push(Arc::downgrade(&flight));
        flight
    }

    /// What a call says of the server that it was made to.
    pub(super) fn server_ended(&self, server: ServerId, permitted: Permitted, end: CallEnd) {
        if self.server(server).ended(permitted, end) {
            tracing::warn!(server = server.0, "a model server cannot be reached: nothing is sent there until it can");
            self.admission.down(server);
        }
    }

    async fn does(self: Arc<Self>, chore: Chore) {
        match chore {
            Chore::Load(load) => {
                self.loads(&load.runner);
                let started = Instant::now();
                let ok = self.server(load.server).load(&load.runner, load.embeds, LOAD_LIMIT).await;
                tracing::debug!(model = %load.runner.model, ok, ms = started.elapsed().as_millis(), "loaded");
                self.admission.loaded(&load, ok);
            }
            Chore::Revive(server) => self.revive(server).await,
        }
    }

    /// A model that is loaded again and again for other options is somebody's mistake, mostly (R100).
    fn loads(&self, runner: &Runner) {
        let Runner { model, options, .. } = runner;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded.insert(model.clone(), options.clone()) {
            Some(before) if before != *options => {
                self.books.recorder.metrics.reloaded();
                tracing::warn!(
                    %model,
                    %before,
                    now = %options,
                    "a model is loaded again because callers ask for it with other options; `ollama.num_ctx` in the fleet \
                     file, or --num-ctx, gives all of them the same context size"
                );
            }
            Some(_) | None => {}
        }
    }

    /// Tries a server that was given up until it answers.
    async fn revive(&self, id: ServerId) {
        let server = self.server(id);
        loop {
            sleep(server.opens_in().unwrap_or(Millis::from_secs(1)).to_std()).await;
            let Some(permitted) = server.admit() else { continue };
            // Nothing is granted there meanwhile, so that a free slot stays free.
            let is_back = server.is_back(self.admission.has_room(id)).await;
            let end = if is_back { CallEnd::Success } else { CallEnd::Failure };
            server.ended(permitted, end);
            if is_back {
                tracing::info!(server = id.0, "the model server can be reached again");
                return self.admission.up(id);
            }
        }
    }

    fn sweep(self: &Arc<Self>, chores: &mut JoinSet<()>) {
        self.admission.show_wait_max();
        self.give_up_stalled(STALL_LIMIT);
        for server in &self.servers {
            server.upstream.drop_stale();
            if server.is_to_show_itself() && self.admission.is_idle() && self.admission.is_up(server.id) {
                chores.spawn(call::show(self.clone(), server.id));
            }
        }
    }

    /// Calls on which the model server has moved nothing for so long.
    pub(super) fn give_up_stalled(&self, limit: Duration) {
        // Outside of the lock, which every call takes.
        let flights: Vec<Arc<Flight>> = self.flights().iter().filter_map(Weak::upgrade).collect();
        flights.iter().for_each(|flight| flight.look(limit));
    }

    fn flights(&self) -> MutexGuard<'_, Vec<Weak<Flight>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
