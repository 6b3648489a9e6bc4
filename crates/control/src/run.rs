//! Puts a controller together and runs it until it is told to stop.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
};

use bellwether_core::{
    port::{driver, gateway},
    rollout::{Controller, Event, FleetAgent, Lookout},
    spec::Spec,
    time::ClockWatch,
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, Shared},
    bundles::Bundles,
    clock::Clock,
    disk::Disk,
    effects::Effects,
    error::Error,
    evidence::Evidence,
    health::Health,
    journal::{Journal, Memory},
    launch::{Entrance, Launcher},
    links::Link,
    measured::TrafficLog,
    probe::Prober,
    reactor::{Input, Pace, Reactor},
    usage::UsageLog,
    watching::Watching,
};

/// What a controller needs to know before it looks at the world.
pub struct Config {
    pub spec: Spec,
    /// Holds the journal and the two link sockets `gateway.sock` and `driver.sock`.
    pub state: PathBuf,
    pub api: TcpListener,
    pub gateway_port: u16,
    /// Whether `127.64.0.0/10` addresses reach the gateway.
    pub by_address: bool,
}

const INPUTS_MAX: usize = 4096;

/// Runs until `shutdown`. An error leaves traffic and agents as they are.
pub fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?
        .block_on(controller(config, shutdown))
}

async fn controller(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let clock = Clock::start();
    let spec = Arc::new(config.spec);
    let journal_path = config.state.join("journal.sqlite");
    let mut disk = Disk::of(&config.state);
    let journal = open(&journal_path, &mut disk)?;
    let entrance = Entrance { port: config.gateway_port, by_address: config.by_address };
    let mut launcher = Launcher::new((*spec).clone(), entrance, &config.state)?;
    let (last_record, memory) = replay(&journal, &journal_path)?;
    let Memory { machine, boots, decided, began } = memory;
    let usage = UsageLog::resumed(boots);
    let mut first = Vec::new();
    if machine.is_declared() {
        same_fleet(&spec, &machine)?;
        first.push(Event::Restarted);
    }
    let left = disk.left(&machine);
    first.extend(left.map_err(|source| Error::State { path: config.state.clone(), source })?);
    for rollout in machine.rollouts() {
        launcher.learn(&rollout.plan.revisions);
    }
    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let mut tasks = JoinSet::new();
    let driver_news = forward(&mut tasks, &inputs, Input::Driver);
    let driver = Link::open(&mut tasks, config.state.join("driver.sock"), driver::PROTOCOL, driver_news);
    let gateway_news = forward(&mut tasks, &inputs, Input::Gateway);
    let gateway = Link::open(&mut tasks, config.state.join("gateway.sock"), gateway::PROTOCOL, gateway_news);
    let evidence = Evidence { spec: spec.clone(), gateway: gateway.clone(), journal: journal_path.clone() };
    let shared = Arc::new(Shared::new(spec.clone(), config.state.clone(), inputs.clone(), evidence));
    let listener = config.api.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(config.api));
    tasks.spawn(api::serve(listener.map_err(Error::Listen)?, shared.clone(), shutdown.clone()));
    let prober = Prober::new();
    let health = Health::new(prober.clone(), clock, inputs.clone());
    let bundles = Bundles::resumed(machine.rollout());
    let effects = Effects { driver, gateway, launcher, prober, inputs, tasks };
    let reactor = Reactor {
        spec,
        machine,
        last_snapshot: journal.last_snapshot()?,
        journal,
        state_dir: config.state,
        journal_path,
        last_record,
        clock,
        clock_watch: ClockWatch::default(),
        inputs: received,
        effects,
        usage,
        traffic: TrafficLog::default(),
        watching: Watching::new(decided),
        health,
        bundles,
        disk,
        forgetting: true,
        decided,
        began,
        samples_lost: 0,
        first,
        shared,
        pace: Pace::new(std::time::Instant::now()),
        last_second: 0,
        lookout: Lookout::new(clock.now().mono),
    };
    reactor.run(shutdown).await
}

/// Opening takes a little room, which an earlier controller may have held back.
fn open(path: &Path, disk: &mut Disk) -> Result<Journal, Error> {
    loop {
        match Journal::open(path) {
            Err(error) if error.is_for_want_of_room() && disk.give_back_to_open() => {}
            opened => return opened,
        }
    }
}

/// What the journal comes to, and the number of its last record.
pub(crate) fn replay(journal: &Journal, path: &Path) -> Result<(i64, Memory), Error> {
    let (after, mut memory) = journal.snapshot()?;
    let last = journal.events(after, |seq, now, event| {
        memory.replay(seq, now, event).map_err(|why| Error::Unreplayable { path: path.to_owned(), seq, why })
    })?;
    Ok((last, memory))
}

/// The agents of a fleet file as the machine wants them.
pub(crate) fn declared(spec: &Spec) -> Vec<FleetAgent> {
    let agents = spec.agents.iter().map(|agent| FleetAgent {
        name: agent.name.clone(),
        agent_type: agent.agent_type.clone(),
        revision: agent.revision.id.clone(),
        http: agent.revision.http,
        delivery: agent.revision.delivery,
        boot: agent.revision.boot,
        drain: agent.drain,
    });
    agents.collect()
}

fn same_fleet(spec: &Spec, machine: &Controller) -> Result<(), Error> {
    let held: std::collections::BTreeSet<_> = machine.agents().map(|(name, _)| name).collect();
    let declared: std::collections::BTreeSet<_> = spec.agents.iter().map(|agent| &agent.name).collect();
    if held == declared {
        return Ok(());
    }
    let names = |difference: Vec<&&_>| difference.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let added = names(declared.difference(&held).collect());
    let gone = names(held.difference(&declared).collect());
    Err(Error::OtherFleet(format!("only in the file: [{added}]; only in the state: [{gone}]")))
}

/// A channel of a link's own whose news reach the reactor as its inputs.
fn forward<E: Send + 'static>(
    tasks: &mut JoinSet<()>,
    inputs: &mpsc::Sender<Input>,
    wrap: fn(crate::links::News<E>) -> Input,
) -> mpsc::Sender<crate::links::News<E>> {
    let (news, mut received) = mpsc::channel(64);
    let inputs = inputs.clone();
    tasks.spawn(async move {
        while let Some(one) = received.recv().await {
            if inputs.send(wrap(one)).await.is_err() {
                return;
            }
        }
    });
    news
}
