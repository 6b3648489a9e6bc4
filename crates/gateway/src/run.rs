//! Puts the parts together: the writer's thread, the runtime threads, and keeper and prober on the caller's own.

use std::{io, net::TcpListener, path::PathBuf, sync::Arc, thread};

use bellwether_core::{
    observation::{Resumed, Second},
    spec::Spec,
    time::UnixMillis,
    traffic::State,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    board::Board,
    clock::Clock,
    courier,
    desk::Desk,
    door::House,
    keeper::Keeper,
    limits,
    model::{Books, Model, Prober, Probes},
    server,
    store::{Loaded, Store, StoreError},
    writer::Writer,
};

pub struct Config {
    /// Bound to loopback; or to every address and to the device `lo`, so that the address that a client called
    /// names the instance.
    pub listener: TcpListener,
    /// The SQLite file. Made if it is not there.
    pub store: PathBuf,
    /// The Unix socket for the controller.
    pub link: PathBuf,
    /// Of the listener, for what is logged.
    pub port: u16,
    pub spec: Spec,
    /// Runtime threads; at least one.
    pub threads: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the gateway could not {step}")]
    Io { step: &'static str, source: io::Error },
    #[error("the gateway's {0} thread panicked")]
    Panicked(String),
}

impl Error {
    fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, source }
    }
}

/// Serves until `shutdown`, and then for as long as requests in flight take to end, within a bound.
pub fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let Config { listener, store, link, port, spec, threads } = config;
    let mut store = Store::open(&store)?;
    let loaded = store.load()?;
    let before = store.begin_work()?;
    let (events, told) = mpsc::unbounded_channel();
    let board = Arc::new(Board::new(&spec, Clock::start(), events));
    if let Some(last) = before {
        let resumed = resumed(&last, &loaded, board.clock.wall());
        let Resumed { away, pushes, calls, leases } = resumed;
        tracing::warn!(away_ms = away.0, pushes, calls, leases, "the gateway before this one was killed");
        board.resume(resumed);
    }
    let agents = spec.agents.iter().map(|agent| (agent.name.clone(), agent.agent_type.clone())).collect();
    let writer = Writer::new(board.clone(), store, loaded, spec.tasks.clone(), agents);
    let (asks, asked) = mpsc::channel(limits::DESK_QUEUE);
    let desk = Desk::new(asks);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::at("start its own runtime"))?;
    let books =
        Books { recorder: board.recorder.clone(), waits: board.waits.clone(), breakers: board.breakers.clone() };
    let model = Model::start(&spec.ollama.url, spec.ollama.parallel, books);
    let probes: Arc<Probes> = Arc::default();
    let prober = Prober::new(&spec.ollama.url, probes.clone());
    let keeper = {
        let _inside = runtime.enter();
        Keeper::listen(&link, told, board.clone(), desk.clone(), model.clone(), probes)
            .map_err(Error::at("listen for the controller"))?
    };
    listener.set_nonblocking(true).map_err(Error::at("make its listener asynchronous"))?;

    // Whichever part ends first ends the others.
    let stop = shutdown.child_token();
    let _stop_all = stop.clone().drop_guard();
    let mut parts = Vec::new();
    let writing = spawn("store", &stop, move || write(writer, asked))?;
    let house = Arc::new(House::new(board, desk, model, spec.tasks, stop.clone()));
    for n in 0..threads.max(1) {
        let listener = listener.try_clone().map_err(Error::at("share its listener"))?;
        let (house, stop_this) = (house.clone(), stop.clone());
        parts.push(spawn(&format!("serve-{n}"), &stop, move || {
            server::run(listener, house, stop_this).map_err(Error::at("serve"))
        })?);
    }
    let (of_courier, stop_this) = (house.clone(), stop.clone());
    parts.push(spawn("courier", &stop, move || {
        courier::run(&of_courier, &stop_this).map_err(Error::at("start the courier's runtime"))
    })?);
    drop((house, listener));
    tracing::info!(port, threads, "the gateway serves");
    runtime.block_on(async { tokio::join!(keeper.run(stop.clone()), prober.run(stop)) });
    let served = parts.into_iter().map(join).fold(Ok(()), Result::and);
    // The desk has nobody left to ask it, so the writer ends.
    join(writing).and(served)
}

/// What the last record of a gateway that was killed tells of its end.
fn resumed(last: &Second, loaded: &Loaded, now: UnixMillis) -> Resumed {
    let leases = loaded.snapshot.tasks.values().filter(|task| matches!(task.state, State::Leased(_))).count();
    Resumed {
        away: now.since(last.at),
        pushes: last.pushes_open,
        calls: last.slots_busy + last.calls_waiting,
        leases: leases as u64,
    }
}

fn write(writer: Writer, asked: mpsc::Receiver<crate::desk::Ask>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(Error::at("start the store's runtime"))?;
    Ok(runtime.block_on(writer.run(asked))?)
}

type Part = (String, thread::JoinHandle<Result<(), Error>>);

/// A thread that takes the whole gateway down with it when it ends, however it does.
fn spawn(
    name: &str,
    stop: &CancellationToken,
    work: impl FnOnce() -> Result<(), Error> + Send + 'static,
) -> Result<Part, Error> {
    let stop = stop.clone().drop_guard();
    let handle = thread::Builder::new()
        .name(format!("gateway-{name}"))
        .spawn(move || {
            let _stop = stop;
            work()
        })
        .map_err(Error::at("start a thread"))?;
    Ok((name.to_owned(), handle))
}

fn join((name, handle): Part) -> Result<(), Error> {
    handle.join().unwrap_or(Err(Error::Panicked(name)))
}
