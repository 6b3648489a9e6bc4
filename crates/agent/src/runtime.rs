//! The life of an agent: register, pull while there is room, drain, stop.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    pin, select,
    sync::Notify,
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::{Backend, BackendError},
    ballast::Ballast,
    config::Config,
    fault::Fault,
    handler::Handler,
    model::Pool,
    pace::{Backoff, jittered},
    serve,
    stats::Stats,
    status::Status,
    task::Task,
    work::work,
};

/// How long the answer to a question for a task is waited for when the agent is asked to end: a task that is
/// already on its way would else have to wait for its lease to run out.
const LAST_ANSWER: Duration = Duration::from_secs(2);
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LONGEST: Duration = Duration::from_secs(10);

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
    /// Tasks that did not finish within the drain limit. They were not reported, so that their leases run out
    /// and somebody else does them.
    pub unfinished: usize,
}

pub(crate) struct Shared<H> {
    pub(crate) config: Arc<Config>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) backend: Backend,
    pub(crate) models: Arc<Pool>,
    pub(crate) handler: H,
    stage: Stage,
    /// The first task has come.
    begun: Notify,
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
    if shared.register(&shutdown).await {
        services.spawn(shared.clone().beat());
        shared.pull(&mut tasks, &shutdown).await;
    }
    shared.enter(Status::ShuttingDown);
    // Side by side: a backend that does not answer must not take time from the drain.
    let ((), unfinished) = tokio::join!(shared.heartbeat(), shared.drain(tasks));
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
        if !self.models.breaker().is_closed() {
            return Status::Error;
        }
        let full = self.stats.read().tasks_active >= self.config.concurrency as u64;
        if full { Status::Busy } else { Status::Active }
    }

    fn enter(&self, stage: Status) {
        let index = Stage::ALL.iter().position(|known| *known == stage).unwrap_or_default();
        self.stage.0.store(u8::try_from(index).unwrap_or_default(), Ordering::Relaxed);
        tracing::info!(status = stage.as_str(), "agent");
    }
}

impl<H: Handler> Shared<H> {
    fn new(config: Config, handler: H) -> Self {
        let config = Arc::new(config);
        let stats = Arc::new(Stats::new());
        Self {
            backend: Backend::new(config.clone(), stats.clone()),
            models: Arc::new(Pool::new(&config, stats.clone())),
            handler,
            stage: Stage::default(),
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
                    Err(error) => tracing::warn!(%error, "not registered"),
                },
            }
            select! {
                () = shutdown.cancelled() => return false,
                () = sleep(backoff.wait()) => {}
            }
        }
        self.enter(Status::Active);
        true
    }

    async fn beat(self: Arc<Self>) {
        loop {
            sleep(jittered(self.config.limits.heartbeat_every)).await;
            self.heartbeat().await;
        }
    }

    async fn heartbeat(&self) {
        let trips = self.models.breaker().trips();
        if let Err(error) = self.backend.heartbeat(self.status(), trips).await {
            tracing::warn!(%error, "heartbeat failed");
        }
    }

    async fn pull(self: &Arc<Self>, tasks: &mut JoinSet<()>, shutdown: &CancellationToken) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        while !shutdown.is_cancelled() {
            while let Some(ended) = tasks.try_join_next() {
                note(ended);
            }
            if tasks.len() >= self.room() {
                select! {
                    () = shutdown.cancelled() => return,
                    ended = tasks.join_next(), if !tasks.is_empty() => ended.into_iter().for_each(note),
                    () = sleep(self.config.idle) => {}
                }
                continue;
            }
            let asked = Instant::now();
            let wait = match self.next(shutdown).await {
                None => return,
                Some(Ok(Some(task))) => {
                    self.begun.notify_one();
                    tasks.spawn(work(self.clone(), task));
                    Duration::ZERO
                }
                // A backend that held the question has done the waiting.
                Some(Ok(None)) => jittered(self.config.idle).saturating_sub(asked.elapsed()),
                Some(Err(error)) => {
                    tracing::warn!(%error, "no next task");
                    backoff.wait()
                }
            };
            if wait.is_zero() {
                backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
                continue;
            }
            select! {
                () = shutdown.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
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

    /// None if the agent was asked to end and no answer came soon after.
    async fn next(&self, shutdown: &CancellationToken) -> Option<Result<Option<Task>, BackendError>> {
        let next = self.backend.next();
        pin!(next);
        select! {
            biased;
            answer = &mut next => Some(answer),
            () = shutdown.cancelled() => timeout(LAST_ANSWER, next).await.ok(),
        }
    }

    async fn drain(&self, mut tasks: JoinSet<()>) -> usize {
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                note(ended);
            }
        };
        if timeout(self.config.limits.drain, all).await.is_ok() {
            return 0;
        }
        let unfinished = tasks.len();
        tracing::error!(unfinished, "the drain limit passed");
        tasks.shutdown().await;
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
