//! Puts the parts together: the writer's thread, the runtime threads, and keeper and prober on the caller's own.

use std::{io, net::TcpListener, path::PathBuf, sync::Arc, thread, time::Duration};

use bellwether_core::{
    observation::{Resumed, Second},
    port::heir::{Estate, TookOver},
    spec::Spec,
    time::UnixMillis,
    traffic::State,
};
use bellwether_store::Remedy;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    board::Board,
    clock::Clock,
    courier,
    desk::Desk,
    door::House,
    heir::{Elder, Follow, Inherited, NotGiven, Parts, succeed},
    keeper::Keeper,
    limits,
    model::{Books, Model, ModelSettings, Prober, Probes},
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
    /// The Unix socket for the gateway that takes this one's place: `heir-` and something of its own. A gateway that
    /// listens on such a one in the same directory gives way to this one.
    pub heir: PathBuf,
    /// What a gateway that gives way may take to finish what it has in flight.
    pub finish_within: Duration,
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
    #[error(transparent)]
    NotGiven(#[from] NotGiven),
    #[error("the gateway could not {step}")]
    Io { step: &'static str, source: io::Error },
    #[error("the gateway's {0} thread panicked")]
    Panicked(String),
}

impl Error {
    /// What a person has to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Store(error) => error.remedy(),
            Self::NotGiven(_) | Self::Io { .. } | Self::Panicked(_) => Remedy::Named,
        }
    }

    fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, source }
    }
}

/// Serves until `shutdown`, and then for as long as requests in flight take to end, within a bound; or until another gateway
/// has taken over and nothing is in flight here any more.
pub fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let Config { listener, store, link, heir, finish_within, port, spec, threads } = config;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::at("start its own runtime"))?;
    // The store of one that serves is closed after this, and not before.
    let inherited = runtime.block_on(succeed(&heir, finish_within))?;
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
    let books =
        Books { recorder: board.recorder.clone(), waits: board.waits.clone(), breakers: board.breakers.clone() };
    let settings = ModelSettings::of(&spec.ollama);
    let model = Model::start(&settings, books);
    if let Some(inherited) = &inherited {
        inherited.enter(&board);
        let Estate { holding, resident, .. } = &inherited.estate;
        runtime.block_on(model.hold(holding.calls.clone(), resident.clone()));
    }
    let agents = spec.agents.iter().map(|agent| (agent.name.clone(), agent.agent_type.clone())).collect();
    let writer = Writer::new(board.clone(), store, loaded, spec.tasks.clone(), agents);
    let (asks, asked) = mpsc::channel(limits::DESK_QUEUE);
    let desk = Desk::new(asks);
    let probes = Probes::of(settings.upstreams.len());
    let prober = Prober::new(&settings.upstreams, probes.clone());
    let keeper = {
        let _inside = runtime.enter();
        Keeper::listen(&link, told, board.clone(), desk.clone(), model.clone(), probes)
            .map_err(Error::at("listen for the controller"))?
    };
    listener.set_nonblocking(true).map_err(Error::at("make its listener asynchronous"))?;

    // Whichever part ends first ends the others, unless it ends because another gateway takes over.
    let stop = shutdown.child_token();
    let _stop_all = stop.clone().drop_guard();
    let house = Arc::new(House::new(board, desk, model, spec.tasks, stop.clone()));
    let leaving = house.leaving.clone();
    let mut parts = Vec::new();
    let closed = CancellationToken::new();
    let (when_closed, of_stop) = (closed.clone().drop_guard(), Ends { stop: &stop, leaving: &leaving });
    let writing = of_stop.spawn("store", move || {
        let written = write(writer, asked);
        drop(when_closed);
        written
    })?;
    let (serves, serving) = mpsc::channel(1);
    for n in 0..threads.max(1) {
        let listener = listener.try_clone().map_err(Error::at("share its listener"))?;
        let (house, stop_this, serves) = (house.clone(), stop.clone(), serves.clone());
        parts.push(of_stop.spawn(&format!("serve-{n}"), move || {
            let served = server::run(listener, house, stop_this).map_err(Error::at("serve"));
            drop(serves);
            served
        })?);
    }
    let (of_courier, carries) = (house.clone(), serves.clone());
    parts.push(of_stop.spawn("courier", move || {
        let ran = courier::run(&of_courier).map_err(Error::at("start the courier's runtime"));
        drop(carries);
        ran
    })?);
    drop(listener);

    let rank = inherited.as_ref().map_or(0, |inherited| inherited.rank);
    let took_over = inherited.as_ref().map(Inherited::took_over);
    match took_over {
        Some(TookOver { gap, connections, calls }) => {
            tracing::info!(port, threads, gap_ms = gap.0, connections, calls, "the gateway serves in place of another");
        }
        None => tracing::info!(port, threads, "the gateway serves"),
    }
    let kept = CancellationToken::new();
    let waits_for = Parts { kept: kept.clone(), closed, serving, stop: stop.clone() };
    let elder = {
        let _inside = runtime.enter();
        Elder::listen(heir.clone(), house.clone(), waits_for, rank, took_over)
    };
    let follow = Follow { house, own: heir };
    runtime.block_on(async {
        let keeping = async {
            keeper.run(leaving.clone()).await;
            kept.cancel();
        };
        let giving_way = async {
            match elder {
                Ok(elder) => elder.run().await,
                Err(error) => tracing::error!(%error, "no gateway can take over from this one without a gap"),
            }
        };
        let following = async {
            follow.run(inherited, stop).await;
            drop(serves);
        };
        tokio::join!(keeping, prober.run(leaving.clone()), giving_way, following);
    });
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

/// How parts end one another.
struct Ends<'a> {
    stop: &'a CancellationToken,
    leaving: &'a CancellationToken,
}

impl Ends<'_> {
    /// A thread that takes the whole gateway down with it when it ends, however it does, unless the gateway gives way.
    fn spawn(&self, name: &str, work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<Part, Error> {
        let (stop, leaving) = (self.stop.clone().drop_guard(), self.leaving.clone());
        let handle = thread::Builder::new()
            .name(format!("gateway-{name}"))
            .spawn(move || {
                let done = work();
                if done.is_ok() && leaving.is_cancelled() {
                    stop.disarm();
                }
                done
            })
            .map_err(Error::at("start a thread"))?;
        Ok((name.to_owned(), handle))
    }
}

fn join((name, handle): Part) -> Result<(), Error> {
    handle.join().unwrap_or(Err(Error::Panicked(name)))
}
