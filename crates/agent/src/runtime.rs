//! The life of an agent: register, pull while there is room, drain, stop.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    select,
    sync::Notify,
    task::{JoinError, JoinSet},
    time::{sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::{Backend, BackendError},
    ballast::Ballast,
    config::Config,
    fault::Fault,
    footprint::release_idle_memory,
    handler::Handler,
    pace::{Backoff, jittered},
    pool::Pool,
    progress::Progress,
    serve,
    stats::Stats,
    status::Status,
    task::Task,
    trace::Trace,
    work::work,
};

/// How long the answer to a question for a task is waited for when the agent is asked to end: a task that is
/// already on its way would else have to wait for its lease to run out.
const LAST_ANSWER: Duration = Duration::from_secs(2);
/// How long the last checkpoints of what did not finish may take to be told.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A question that has been open for so long will probably stay open, and one that was answered with nothing after so
/// long was held.
const QUIET_AFTER: Duration = Duration::from_millis(20);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// The main loop turns at least once in the time of a question and of the longest pause; this much more, and it hangs.
const TURN_SLACK: Duration = Duration::from_secs(30);

/// Between two looks whether a fault that sleeps has to begin.
const FAULT_BEAT: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot serve on {address}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("an agent needs room for at least one task")]
    NoRoom,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Tasks that did not finish within the drain limit. They were not reported, so that somebody else does them,
    /// from the last checkpoint on where there is one.
    pub unfinished: usize,
}

/// A question for a task that may be open when the agent is asked to end.
type Question = Pin<Box<dyn Future<Output = Result<Option<(Task, Trace)>, BackendError>> + Send>>;

pub(crate) struct Shared<H> {
    pub(crate) config: Arc<Config>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) models: Arc<Pool>,
    pub(crate) handler: H,
    /// One for each task.
    pub(crate) held: Held,
    stage: Stage,
    /// When the main loop last turned.
    turned: Mutex<Instant>,
    /// The first task has come.
    begun: Notify,
}

#[derive(Default)]
pub(crate) struct Held {
    tasks: Mutex<Vec<Arc<Progress>>>,
    /// The last of them has ended.
    emptied: Notify,
}

impl Held {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Arc<Progress>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn end(&self, task: &Arc<Progress>) {
        let mut tasks = self.lock();
        tasks.retain(|held| !Arc::ptr_eq(held, task));
        if tasks.is_empty() {
            self.emptied.notify_one();
        }
    }

    /// Of the task that has shown no sign of progress for longest.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.lock().iter().map(|progress| progress.silence()).max()
    }
}

/// Where in its life the agent is. `Busy` and `Error` are not stages; they are read off the figures.
#[derive(Default)]
struct Stage(AtomicU8);

impl Stage {
    const ALL: [Status; 5] =
        [Status::Initializing, Status::Registering, Status::Active, Status::ShuttingDown, Status::Stopped];
}

/// Runs until `shutdown` is cancelled and what is held is finished or the drain limit has passed.
pub async fn run(mut config: Config, handler: impl Handler, shutdown: CancellationToken) -> Result<Ended, StartError> {
    if config.concurrency == 0 {
        return Err(StartError::NoRoom);
    }
    if config.fault == Some(Fault::Hang) {
        // A main loop that does not come back holds the one task that it took.
        config.concurrency = 1;
    }
    let _ballast = Ballast::of(config.ballast_bytes);
    let shared = Arc::new(Shared::new(config, handler));
    let mut services = JoinSet::new();
    if let Some(fault) = shared.config.fault {
        tracing::warn!(?fault, "this agent is faulty on purpose");
        services.spawn(misbehave(fault, shared.clone()));
    }
    select! {
        () = sleep(shared.config.boot_delay) => {}
        () = shutdown.cancelled() => return Ok(Ended { unfinished: 0 }),
    }
    if let Some(address) = shared.config.listen {
        let listener = serve::bind(address).map_err(|source| StartError::Listen { address, source })?;
        services.spawn(serve::serve(listener, shared.clone()));
    }
    let mut tasks = JoinSet::new();
    let mut question = None;
    if shared.register(&shutdown).await {
        services.spawn(shared.clone().beat());
        question = shared.pull(&mut tasks, &shutdown).await;
    }
    shared.enter(Status::ShuttingDown);
    // Side by side: a backend that does not answer must not take time from the drain, and one that holds a question
    // is told that no task is wanted any more.
    let ((), unfinished) = tokio::join!(shared.heartbeat(), shared.drain(tasks, question));
    shared.enter(Status::Stopped);
    shared.heartbeat().await;
    services.shutdown().await;
    Ok(Ended { unfinished })
}

impl<H> Shared<H> {
    pub(crate) fn status(&self) -> Status {
        let stage = Stage::ALL[usize::from(self.stage.0.load(Ordering::Relaxed))];
        if stage != Status::Active {
            return stage;
        }
        if !self.models.breaker().is_closed() || self.is_stuck() {
            return Status::Error;
        }
        let full = self.stats.read().tasks_active >= self.config.concurrency as u64;
        if full { Status::Busy } else { Status::Active }
    }

    /// Since the main loop last turned.
    pub(crate) fn turn_age(&self) -> Duration {
        self.turned.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// A heartbeat alone says nothing: it would go on while everything else hangs.
    fn is_stuck(&self) -> bool {
        let longest = self.config.limits.next_timeout + (self.config.idle + RETRY_LONGEST) * 2;
        self.turn_age() > longest + TURN_SLACK
    }

    fn turn(&self) {
        *self.turned.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn enter(&self, stage: Status) {
        let index = Stage::ALL.iter().position(|known| *known == stage).unwrap_or_default();
        self.stage.0.store(u8::try_from(index).unwrap_or_default(), Ordering::Relaxed);
        tracing::info!(status = stage.as_str(), "status");
    }
}

impl<H: Handler> Shared<H> {
    fn new(config: Config, handler: H) -> Self {
        let config = Arc::new(config);
        let stats = Arc::new(Stats::new());
        Self {
            backend: Arc::new(Backend::new(config.clone(), stats.clone())),
            models: Arc::new(Pool::new(&config, stats.clone())),
            handler,
            held: Held::default(),
            stage: Stage::default(),
            turned: Mutex::new(Instant::now()),
            begun: Notify::new(),
            stats,
            config,
        }
    }

    /// Until it succeeds: an agent that its backend does not know takes no tasks and is not ready. False if it
    /// was asked to end before.
    async fn register(&self, shutdown: &CancellationToken) -> bool {
        self.enter(Status::Registering);
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        loop {
            select! {
                biased;
                () = shutdown.cancelled() => return false,
                registered = self.backend.register() => match registered {
                    Ok(()) => break,
                    Err(error) => tracing::warn!(backend = %self.config.backend, %error, "not registered"),
                },
            }
            select! {
                () = shutdown.cancelled() => return false,
                () = sleep(backoff.wait()) => {}
            }
        }
        select! {
            () = shutdown.cancelled() => return false,
            () = self.models.warm_up() => {}
        }
        self.turn();
        self.enter(Status::Active);
        true
    }

    async fn beat(self: Arc<Self>) {
        loop {
            sleep(jittered(self.config.limits.heartbeat_every)).await;
            self.heartbeat().await;
            self.backend.reap();
            self.models.reap();
            self.rest();
        }
    }

    /// An agent that does nothing holds no memory for it.
    fn rest(&self) {
        if self.held.lock().is_empty() {
            release_idle_memory();
        }
    }

    async fn heartbeat(&self) {
        let trips = self.models.breaker().trips();
        if let Err(error) = self.backend.heartbeat(self.status(), trips).await {
            tracing::warn!(%error, "heartbeat failed");
        }
    }

    /// Until shutdown. Gives back the question that is open then.
    async fn pull(self: &Arc<Self>, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) -> Option<Question> {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        while !shutdown.is_cancelled() {
            self.turn();
            while let Some(ended) = tasks.try_join_next() {
                note(ended);
            }
            if tasks.len() >= self.room() {
                select! {
                    () = shutdown.cancelled() => return None,
                    ended = tasks.join_next(), if !tasks.is_empty() => ended.into_iter().for_each(note),
                    () = sleep(self.config.idle) => {}
                }
                continue;
            }
            let asked = Instant::now();
            let mut question = self.ask();
            let answer = select! {
                biased;
                answer = &mut question => answer,
                () = shutdown.cancelled() => return Some(question),
                // Never ends.
                () = self.rest_while_asking() => continue,
            };
            let wait = match answer {
                Ok(Some((task, trace))) => {
                    self.begin(task, trace, tasks);
                    Duration::ZERO
                }
                // A backend that held the question has done the waiting.
                Ok(None) => {
                    let held = asked.elapsed();
                    if held > QUIET_AFTER {
                        self.rest();
                    }
                    jittered(self.config.idle).saturating_sub(held)
                }
                Err(error) => {
                    tracing::warn!(%error, "no next task");
                    backoff.wait()
                }
            };
            if wait.is_zero() {
                backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
                continue;
            }
            select! {
                () = shutdown.cancelled() => return None,
                () = sleep(wait) => {}
            }
        }
        None
    }

    fn ask(&self) -> Question {
        let backend = self.backend.clone();
        Box::pin(async move { backend.next().await })
    }

    async fn rest_while_asking(&self) {
        loop {
            sleep(QUIET_AFTER).await;
            self.rest();
            self.held.emptied.notified().await;
        }
    }

    fn begin(self: &Arc<Self>, task: Task, trace: Trace, tasks: &mut JoinSet<()>) {
        self.begun.notify_one();
        tasks.spawn(work(self.clone(), task, trace));
    }

    /// How many tasks may be held: one to probe with when the model server has failed too often, and none
    /// until the time for a probe has come.
    fn room(&self) -> usize {
        let breaker = self.models.breaker();
        match breaker.closed_for(Instant::now()) {
            _ if breaker.is_closed() => self.config.concurrency,
            Duration::ZERO => 1,
            _ => 0,
        }
    }

    async fn drain(self: &Arc<Self>, mut tasks: JoinSet<()>, question: Option<Question>) -> usize {
        let deadline = tokio::time::Instant::now() + self.config.limits.drain;
        if let Some(question) = question
            && let Ok(Ok(Some((task, trace)))) = timeout(LAST_ANSWER, question).await
        {
            self.begin(task, trace, &mut tasks);
        }
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                note(ended);
            }
        };
        if timeout_at(deadline, all).await.is_ok() {
            return 0;
        }
        let unfinished = tasks.len();
        tracing::error!(unfinished, "the drain limit passed");
        let held = std::mem::take(&mut *self.held.lock());
        tasks.shutdown().await;
        let mut last_words: JoinSet<_> =
            held.into_iter().map(|progress| async move { progress.send().await.ok() }).collect();
        // What cannot be told is lost with the attempt; the task is not.
        while let Ok(Some(_)) = timeout(LAST_WORDS, last_words.join_next()).await {}
        unfinished
    }
}

async fn misbehave<H: Handler>(fault: Fault, shared: Arc<Shared<H>>) {
    while shared.config.faulty().is_none() {
        sleep(FAULT_BEAT).await;
    }
    tokio::join!(fault.leak(), async {
        shared.begun.notified().await;
        fault.crash().await;
    });
}

fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task ended in an unforeseen way");
    }
}
