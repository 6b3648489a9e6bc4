//! Instances as processes of this machine.
//!
//! Each instance is one process group and is owned by one task ([`instance`]); the registry only says who
//! exists and hands commands on. Processes outlive the driver: their output goes straight to files, what is
//! known of them is on disk, and the next driver on the same state directory adopts them by process number
//! and start time.

mod beat;
mod family;
mod instance;
mod launch;
mod left;
mod record;
mod registry;
mod sweep;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bellwether_core::{
    id::InstanceId,
    port::driver::{Capabilities, DriverAction, DriverAnswer, DriverCommand, DriverEvent, Exit, Observed},
    time::Millis,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    instance::{Ask, Order, Running},
    launch::Launcher,
    record::{Record, Records},
    registry::{Registry, Way},
    sweep::Sweeper,
};
pub use self::{
    left::{Left, running},
    record::RecordError,
};
use crate::{
    Driver, Events, Reply,
    linux::{self, Process, cgroup},
    logs,
};

/// Events that may wait for the reader. Beats are dropped beyond it, nothing else is.
const EVENTS_MAX: usize = 1024;
/// Processes that are being started at once: more only contend for the same page tables.
const STARTING_MAX: usize = 4;

#[derive(Clone, Debug)]
pub struct Config {
    /// Holds `instances/` and `logs/`. Two drivers must never share one.
    pub state: PathBuf,
    /// The program that a command's first word `bellwether` stands for.
    pub bellwether: PathBuf,
    /// Between two measurements of usage.
    pub beat: Duration,
    pub cgroups: cgroup::Use,
    /// A log that has grown past this is cut at the next beat; half as much of its end is kept beside it.
    pub log_max_bytes: u64,
}

impl Config {
    pub fn new(state: impl Into<PathBuf>) -> io::Result<Self> {
        Ok(Self {
            state: state.into(),
            bellwether: std::env::current_exe()?,
            beat: Duration::from_secs(2),
            cgroups: cgroup::Use::Auto,
            log_max_bytes: 8 << 20,
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot use {}", path.display())]
    State { path: PathBuf, source: io::Error },
    #[error("what earlier instances left cannot be read")]
    Record(#[from] RecordError),
    #[error("cannot read /proc")]
    Proc(#[source] io::Error),
    #[error("cannot watch process {pid} of instance {instance}")]
    Adopt { instance: InstanceId, pid: u32, source: io::Error },
}

/// See the module. Dropping it leaves the instances running.
pub struct ProcessDriver {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    events: Mutex<Option<Events>>,
}

/// What the tasks of the driver have in common.
struct Shared {
    launcher: Launcher,
    records: Records,
    cgroups: cgroup::Cgroups,
    boot: String,
    beat: Duration,
    log_max_bytes: u64,
    registry: Mutex<Registry>,
    starting: Semaphore,
    sweeper: Sweeper,
    events: mpsc::Sender<DriverEvent>,
    detached: CancellationToken,
}

impl ProcessDriver {
    /// Adopts what an earlier driver left running on this state. Must run inside a tokio runtime.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let logs = config.state.join("logs");
        let state = std::fs::create_dir_all(&logs)
            .and_then(|()| config.state.canonicalize())
            .map_err(|source| OpenError::State { path: config.state.clone(), source })?;
        let records = Records::open(state.join("instances"))?;
        let (floor, known) = records.load()?;
        let owner = state.to_string_lossy().into_owned();
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let shared = Arc::new(Shared {
            cgroups: cgroup::Cgroups::detect(config.cgroups, &key(&owner)),
            launcher: Launcher { bellwether: config.bellwether, logs, owner },
            records,
            boot: linux::proc::boot_id().map_err(OpenError::Proc)?,
            beat: config.beat,
            log_max_bytes: config.log_max_bytes,
            registry: Mutex::default(),
            starting: Semaphore::new(STARTING_MAX),
            sweeper: Sweeper::default(),
            events,
            detached: CancellationToken::new(),
        });
        let driver = Self { shared, tasks: TaskTracker::new(), events: Mutex::new(Some(received)) };
        driver.shared.registry().stand_on(floor);
        for record in known.into_values() {
            driver.take_up(record)?;
        }
        sweep::unrecorded(&driver.shared);
        let first = beat::Measurer::new().map_err(OpenError::Proc)?;
        driver.tasks.spawn(beat::run(driver.shared.clone(), first));
        driver.tasks.spawn(sweep::run(driver.shared.clone()));
        Ok(driver)
    }

    /// All that have not ended, those being started too.
    pub fn instances(&self) -> Vec<InstanceId> {
        self.shared.registry().instances().collect()
    }

    /// Whether the end of an instance was asked for, if it has ended, under this driver or an earlier one.
    pub fn end_was_asked(&self, instance: InstanceId) -> Option<bool> {
        self.shared.registry().end_was_asked(instance)
    }

    /// Stops every instance, and returns the numbers of those that still run when twice the grace has passed.
    pub async fn stop_all(&self, grace: Millis) -> Vec<InstanceId> {
        for instance in self.instances() {
            let (tell, _told) = oneshot::channel();
            self.shared.registry().urge(instance, Order { generation: None, ask: Ask::Stop { grace }, tell });
        }
        let deadline = Instant::now() + 2 * grace.to_std() + Duration::from_secs(2);
        loop {
            let left = self.instances();
            if left.is_empty() || Instant::now() >= deadline {
                self.shared.sweeper.finish(&self.shared).await;
                return left;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets go of the instances, which run on, and waits until no task of the driver touches them.
    pub async fn detach(&self) {
        self.shared.detached.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn take_up(&self, mut record: Record) -> Result<(), OpenError> {
        let (instance, pid) = (record.instance, record.pid);
        if record.ended.is_some() {
            self.shared.registry().ended(instance, record.generation, record.asked);
            return Ok(());
        }
        let process = if record.boot == self.shared.boot {
            Process::open_exact(pid, record.started_ticks).map_err(|source| OpenError::Adopt {
                instance,
                pid,
                source,
            })?
        } else {
            None
        };
        if let Some(process) = process {
            let inbox = self.shared.registry().adopt(&record);
            let running = Running::adopt(self.shared.clone(), process, record, inbox);
            self.tasks.spawn(running.run());
            return Ok(());
        }
        let exit = Exit { code: None, signal: None, out_of_memory: false, asked: record.asked };
        record.ended = Some(exit.clone());
        self.shared.registry().ended(instance, record.generation, record.asked);
        self.shared.records.write(&record)?;
        let events = self.shared.events.clone();
        self.tasks.spawn(async move {
            // Fails only when nobody listens.
            drop(events.send(DriverEvent::Exited { instance, exit }).await);
        });
        Ok(())
    }
}

impl Driver for ProcessDriver {
    fn capabilities(&self) -> Capabilities {
        let cgroups = &self.shared.cgroups;
        Capabilities {
            name: match cgroups.freezer() {
                Some(cgroup::Version::V2) => "process (freezes by cgroup v2)",
                Some(cgroup::Version::V1) => "process (freezes by cgroup v1)",
                None => "process (freezes by SIGSTOP)",
            }
            .to_owned(),
            freeze: true,
            memory_limit: match cgroups.memory() {
                Some(cgroup::Version::V2) => "cgroup-v2",
                Some(cgroup::Version::V1) => "cgroup-v1",
                None => "watch",
            }
            .to_owned(),
        }
    }

    fn observe(&self) -> Reply<Vec<Observed>> {
        let running = self.shared.registry().running().map(|seen| seen.observed.clone()).collect();
        Box::pin(async move { running })
    }

    fn apply(&self, command: DriverCommand) -> Reply<DriverAnswer> {
        let DriverCommand { instance, generation, action } = command;
        let ask = match action {
            DriverAction::Start { launch } => Ask::Start { launch },
            DriverAction::Stop { grace } => Ask::Stop { grace },
            DriverAction::Freeze => Ask::Freeze,
            DriverAction::Thaw => Ask::Thaw,
        };
        let (tell, told) = oneshot::channel();
        let way = self.shared.registry().way(instance, Order { generation: Some(generation), ask, tell });
        match way {
            Way::Answer(answer) => return now(answer),
            Way::Handed => {}
            Way::Begin { launch, tell, inbox } => {
                self.tasks.spawn(instance::start(self.shared.clone(), instance, generation, launch, inbox, tell));
            }
        }
        later(told)
    }

    fn events(&self) -> Option<Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for ProcessDriver {
    fn drop(&mut self) {
        self.shared.detached.cancel();
        self.shared.cgroups.remove_empty();
    }
}

impl Shared {
    /// Lets go of what ended long ago: records, and logs. What cannot be removed is tried again the next time.
    fn tidy(&self) {
        let (floor, gone) = self.registry().trim(record::ENDED_KEPT);
        if let Err(error) = self.records.forget(floor, &gone) {
            tracing::warn!(error = bellwether_core::diagnostic::chain(&error), "records of ended instances stay");
        }
        let living: std::collections::BTreeSet<u64> = self.registry().instances().map(|instance| instance.0).collect();
        match logs::tidy(&self.launcher.logs, &living, std::time::SystemTime::now()) {
            Ok(0) => {}
            Ok(gone) => tracing::info!(gone, "old logs were removed"),
            Err(error) => tracing::warn!(%error, "old logs stay"),
        }
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now(answer: DriverAnswer) -> Reply<DriverAnswer> {
    Box::pin(async move { answer })
}

fn later(told: oneshot::Receiver<DriverAnswer>) -> Reply<DriverAnswer> {
    Box::pin(async move {
        told.await.unwrap_or_else(|_| DriverAnswer::Failed { reason: "the driver is being closed".to_owned() })
    })
}

/// A short name for the state directory, for names of control groups (FNV-1a).
fn key(owner: &str) -> String {
    let hash = owner
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}
