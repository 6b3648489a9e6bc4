//! `bellwether serve`: a small stable parent. It holds the lock on the state directory, the listening sockets
//! and the process driver, and keeps a gateway and a controller running.
//!
//! It decides nothing about agents. Whatever happens to the gateway, to the controller or to the supervisor
//! itself, agents run on until someone says otherwise.

mod back_off;
pub(crate) mod child;
mod edits;
pub(crate) mod failures;
mod herald;
mod keeper;
pub(crate) mod listen;
pub(crate) mod lock;
mod orders;
mod program;
pub(crate) mod put_back;
mod ready;
pub(crate) mod state;
pub(crate) mod succession;
mod upgrade;

use std::{io::Write, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bellwether_core::{id::InstanceId, time::Millis};
use bellwether_drivers::{
    host, linux,
    process::{Config, ProcessDriver},
};
use bellwether_store::{GATEWAY, JOURNAL, refuse_later};
use serde::Serialize;
use tokio::{
    net::UnixListener,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::edits::FleetFile;
use self::{
    herald::Herald,
    keeper::{Kept, Role},
    listen::{Entrance, control_listener},
    lock::Lock,
    program::Program,
    ready::Ready,
    state::State,
    upgrade::Upgrader,
};
use crate::{
    failure::{Exit, Failure, Outcome},
    output::cannot_write,
};

/// What agents get to finish in when they are stopped with the supervisor.
const AGENTS_GRACE: Millis = Millis::from_secs(5);
const CONTROLLER_GRACE: Duration = Duration::from_secs(2);
const GATEWAY_GRACE: Duration = Duration::from_secs(3);

pub(crate) struct Options {
    pub(crate) fleet: FleetFile,
    pub(crate) state: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) stop_agents: bool,
    pub(crate) take_over: bool,
    pub(crate) json: bool,
}

/// Where it can be reached, for whoever started it.
#[derive(Serialize)]
struct Reached {
    gateway: String,
    control: String,
    pid: u32,
}

/// Everything that runs until the end.
struct Serving {
    driver: Arc<ProcessDriver>,
    hosting: JoinHandle<()>,
    upgrading: JoinHandle<()>,
    heralding: JoinHandle<()>,
    gateway: Kept,
    controller: Kept,
}

/// Runs until a signal. Must be called on the main thread with a runtime that stays on it: the children end when
/// the thread that started them does.
pub(crate) async fn serve(options: Options) -> Outcome {
    let loaded = options.fleet.read(&options.state)?;
    let mut signals = Signals::listen()?;
    let state = State::open(&options.state)?;
    let lock = Lock::take(state.path(), options.take_over).await?;
    put_back::finish(state.path()).map_err(|error| failures::put_back(state.path(), &error))?;
    for kind in [GATEWAY, JOURNAL] {
        let refused = refuse_later(&state.path().join(kind.file), kind);
        refused.map_err(|refused| failures::later_store(&refused))?;
    }
    if let Ok((spec, _sources)) = &loaded {
        state.claim(&spec.fleet)?;
    }
    let served = options.fleet.settle(loaded, &state)?;
    child::log_to_file(&state.log("supervisor"));
    let entrance = Entrance::open(options.listen).await?;
    let control = control_listener(options.control).await?;
    state.write_spec(&served.spec)?;
    if !entrance.by_address {
        eprintln!("instances are known by their tokens alone: {} does not serve 127.64.0.0/10", entrance.address);
    }

    let reached = Reached {
        gateway: format!("http://{}", entrance.address),
        control: format!("http://{}", control.address),
        pid: std::process::id(),
    };
    let api = control.address;
    let serving = Serving::start(&state, &lock, entrance, control)?;
    let stop = CancellationToken::new();
    let watching = tokio::spawn(edits::watch(options.fleet, served, state.clone(), stop.clone()));
    let began = tokio::select! {
        ready = ready::wait(&state, api, &serving.gateway, &serving.controller) => {
            Some(ready.and_then(|ready| match ready {
                Ready::Both => announce(&reached, options.json),
                Ready::GatewayAlone(_told) => {
                    eprint!("{}", failures::no_controller(&reached.gateway, &state.log("controller")));
                    Ok(())
                }
            }))
        }
        () = signals.next() => None,
    };
    if let Some(Ok(())) = began {
        signals.next().await;
    }
    stop.cancel();
    let ended = serving.end(&mut signals, options.stop_agents).await;
    if let Err(error) = watching.await {
        tracing::error!(%error, "watching the fleet file failed");
    }
    match began {
        Some(Err(failure)) => ended.and(Err(failure)),
        Some(Ok(())) | None => ended,
    }
}

impl Serving {
    fn start(state: &State, lock: &Lock, entrance: Entrance, control: listen::Control) -> Result<Self, Failure> {
        linux::become_subreaper().map_err(|error| failures::system("cannot become the parent of orphans", &error))?;
        let socket = state.fresh_socket("driver.sock")?;
        let links = UnixListener::bind(&socket).map_err(|error| failures::socket(&socket, &error))?;
        let config = Config::new(state.path()).map_err(|error| failures::system("cannot find this program", &error))?;
        let driver = ProcessDriver::open(config).map_err(|error| failures::driver(state.path(), &error))?;
        let driver = Arc::new(driver);
        let (ear, herald) = Herald::new(state.path().join("gateway.sock"), driver.clone());
        let hosting = tokio::spawn(host::serve(driver.clone(), links, move |event| ear.hear(event)));
        let heralding = tokio::spawn(herald.run());

        let port = entrance.address.port();
        let program = Program::own().map_err(|error| failures::system("cannot find this program", &error))?;
        let gateway = Role::gateway(state, lock, &program, entrance.listener, port);
        let controller = Role::controller(state, lock, &program, control.listener, port, entrance.by_address);
        let gateway = gateway.map_err(|error| failures::system("cannot hand the listeners on", &error))?;
        let controller = controller.map_err(|error| failures::system("cannot hand the listeners on", &error))?;
        let (gateway, controller) = (Kept::keep(gateway), Kept::keep(controller));
        let socket = state.fresh_socket("supervisor.sock")?;
        let links = UnixListener::bind(&socket).map_err(|error| failures::socket(&socket, &error))?;
        let upgrader = Upgrader::new(gateway.handle(), controller.handle(), control.address, program);
        let upgrading = tokio::spawn(upgrader.serve(links));
        Ok(Self { driver, hosting, heralding, upgrading, gateway, controller })
    }

    /// The controller first, so that nobody starts what is being stopped; the gateway last, so that agents can
    /// still hand in what they finish.
    async fn end(self, signals: &mut Signals, stop_agents: bool) -> Outcome {
        let Self { driver, hosting, heralding, upgrading, gateway, controller } = self;
        upgrading.abort();
        let orderly = async {
            controller.end(CONTROLLER_GRACE).await;
            let left = if stop_agents { driver.stop_all(AGENTS_GRACE).await } else { Vec::new() };
            gateway.end(GATEWAY_GRACE).await;
            left
        };
        let left = tokio::select! {
            left = orderly => left,
            () = signals.next() => {
                // Asked twice: what was being waited for is killed. The children end with this process, and until
                // then nobody takes their commands.
                hosting.abort();
                if stop_agents { driver.stop_all(Millis::ZERO).await } else { Vec::new() }
            }
        };
        hosting.abort();
        heralding.abort();
        let running = driver.instances().len();
        driver.detach().await;
        match (left.as_slice(), running) {
            ([], 0) => Ok(Exit::Done),
            ([], running) => {
                eprintln!("{running} agents run on; the next `bellwether serve` on this state adopts them");
                Ok(Exit::Done)
            }
            (left, _) => Err(failures::left(&left.iter().map(InstanceId::to_string).collect::<Vec<_>>())),
        }
    }
}

fn announce(reached: &Reached, json: bool) -> Result<(), Failure> {
    let text = if json {
        serde_json::to_string(reached).map_err(|error| cannot_write(error.into()))?
    } else {
        format!("gateway {}\ncontrol {}", reached.gateway, reached.control)
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(cannot_write)
}

/// The signals that end it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| failures::system("cannot listen for signals", &error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
