//! The clients: requests that are sent when they are due, whatever became of those before, and streams and
//! WebSockets beside them. Nothing is sent twice.

mod connections;
mod post;
mod socket;
mod stream;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use bellwether_core::id::Side;
use hyper::HeaderMap;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    fleet::{self, Agent},
    ledger::{Clock, Failure, Kind, Ledger},
    options::Options,
    targets::ANSWERED_BY,
};
use connections::Connections;

/// Requests without an answer. What would come on top counts as failed.
const IN_FLIGHT_MAX: usize = 2048;
/// How long an answer, a line or an echo may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a hundred requests, one stream of a second is begun.
const REQUESTS_PER_STREAM: f64 = 100.0;

pub(crate) struct Load {
    stop: CancellationToken,
    thread: JoinHandle<anyhow::Result<Ledger>>,
}

/// What all clients share.
struct Clients {
    clock: Clock,
    agents: Agent,
    gateway: SocketAddr,
    connections: Connections,
    ledger: Mutex<Ledger>,
    in_flight: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Mix {
    rate: f64,
    streams: u32,
    websockets: u32,
    seed: u64,
}

impl Load {
    /// Returns when all lasting streams are open and requests arrive.
    pub(crate) fn start(gateway: SocketAddr, options: &Options, clock: Clock) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let clients = Arc::new(Clients {
            clock,
            agents: usize::from(options.agents),
            gateway,
            connections: Connections::to(gateway),
            ledger: Mutex::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            tasks: TaskTracker::new(),
            stop: stop.clone(),
        });
        let mix =
            Mix { rate: options.rate, streams: options.streams, websockets: options.websockets(), seed: options.seed };
        let (tell, told) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || runtime.block_on(run(clients, mix, tell)))?;
        let load = Self { stop, thread };
        if told.blocking_recv().is_err() {
            load.join().context("the load could not begin")?;
        } else {
            return Ok(load);
        }
        Err(anyhow!("the load ended before it began"))
    }

    pub(crate) fn stop_arrivals(&self) {
        self.stop.cancel();
    }

    /// Waits for all that is open.
    pub(crate) fn join(self) -> anyhow::Result<Ledger> {
        self.thread.join().map_err(|_panic| anyhow!("the load panicked"))?
    }
}

async fn run(clients: Arc<Clients>, mix: Mix, ready: oneshot::Sender<()>) -> anyhow::Result<Ledger> {
    clients.connections.open().await.context("cannot connect to the gateway")?;
    open_lasting(&clients, &mix).await?;
    // Who started the load may have given up on it; it then ends by `stop`.
    let _ = ready.send(());
    let (posts, streams) = (fastrand::Rng::with_seed(mix.seed), fastrand::Rng::with_seed(!mix.seed));
    tokio::join!(
        arrive(&clients, mix.rate, posts, |agent, due, _| post::submit(&clients, agent, due)),
        arrive(&clients, mix.rate / REQUESTS_PER_STREAM, streams, |agent, _, chance| {
            let kind = if chance.bool() { Kind::NdJson } else { Kind::Sse };
            clients.tasks.spawn(stream::read(clients.clone(), kind, agent, None));
        }),
    );
    clients.tasks.close();
    clients.tasks.wait().await;
    Ok(std::mem::take(&mut clients.ledger.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Streams and WebSockets for the whole run, spread over the fleet.
async fn open_lasting(clients: &Arc<Clients>, mix: &Mix) -> anyhow::Result<()> {
    let (opened, mut told) = mpsc::unbounded_channel();
    let streams = (0..mix.streams).flat_map(|_| [Kind::NdJson, Kind::Sse]);
    let kinds = streams.chain((0..mix.websockets).map(|_| Kind::WebSocket));
    let all = kinds.clone().count();
    for (n, kind) in kinds.enumerate() {
        let (agent, opened) = (n * clients.agents / all, opened.clone());
        if kind == Kind::WebSocket {
            clients.tasks.spawn(socket::converse(clients.clone(), agent, opened));
        } else {
            clients.tasks.spawn(stream::read(clients.clone(), kind, agent, Some(opened)));
        }
    }
    drop(opened);
    let mut open = 0;
    while told.recv().await.is_some() {
        open += 1;
    }
    let ledger = clients.ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let why = ledger.streams.iter().find_map(|stream| stream.end.err()).map_or(String::new(), |why| why.to_string());
    ensure!(open == all, "only {open} of {all} streams and WebSockets could be opened: {why}");
    Ok(())
}

/// A Poisson process: gaps are drawn, and kept to the clock and not to the answers.
async fn arrive(
    clients: &Clients,
    rate: f64,
    mut chance: fastrand::Rng,
    mut each: impl FnMut(Agent, Duration, &mut fastrand::Rng),
) {
    let mut due = clients.clock.now();
    loop {
        let gap = -(1.0 - chance.f64()).ln() / rate;
        due += Duration::from_secs_f64(gap);
        tokio::select! {
            biased;
            () = clients.stop.cancelled() => return,
            () = tokio::time::sleep_until(clients.clock.at(due)) => {}
        }
        let agent = chance.usize(..clients.agents);
        each(agent, due, &mut chance);
    }
}

impl Clients {
    fn note(&self, entry: impl FnOnce(&mut Ledger)) {
        entry(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Which side of the agent it was that answered.
fn answered_by(headers: &HeaderMap, agent: Agent) -> Result<Side, Failure> {
    let signature = headers.get(ANSWERED_BY).and_then(|value| value.to_str().ok());
    let side = fleet::SIDES.into_iter().find(|&side| signature == Some(&fleet::signature(agent, side)));
    side.ok_or(Failure::Misrouted)
}

fn path(agent: Agent, path: &str) -> String {
    format!("/a/{}{path}", fleet::name(agent))
}
