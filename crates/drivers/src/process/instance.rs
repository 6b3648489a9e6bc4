//! One instance: a task that alone signals its processes, sees them end, and tells.

use std::{
    collections::{BTreeSet, HashMap},
    future::pending,
    io,
    sync::Arc,
    time::Duration,
};

use bellwether_core::{
    id::{Generation, InstanceId},
    port::driver::{DriverAnswer, DriverEvent, Exit, Launch, Observed},
    time::Millis,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Shared, family, record::Record, registry::Seen};
use crate::linux::{Process, Signal, cgroup::Groups, proc};

/// How often a freeze that is under way is looked at.
const FREEZE_LOOK: Duration = Duration::from_millis(2);

/// A command on its way to the task of its instance. The driver's own orders have no generation.
pub(super) struct Order {
    pub(super) generation: Option<Generation>,
    pub(super) ask: Ask,
    pub(super) tell: oneshot::Sender<DriverAnswer>,
}

pub(super) enum Ask {
    Start {
        launch: Box<Launch>,
    },
    Stop {
        grace: Millis,
    },
    Freeze,
    Thaw,
    /// It was measured above its limit.
    EndForMemory,
}

/// An instance whose first process has been started, here or by an earlier driver.
pub(super) struct Running {
    shared: Arc<Shared>,
    process: Arc<Process>,
    groups: Groups,
    record: Record,
    inbox: mpsc::Receiver<Order>,
    freeze: Freeze,
    kill_at: Option<Instant>,
    out_of_memory: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freeze {
    Running,
    /// Asked for; not all of its processes have come to a stop.
    UnderWay,
    Frozen,
}

/// Starts the process, answers, and then is the instance's task until it ends.
pub(super) async fn start(
    shared: Arc<Shared>,
    instance: InstanceId,
    generation: Generation,
    launch: Box<Launch>,
    mut inbox: mpsc::Receiver<Order>,
    tell: oneshot::Sender<DriverAnswer>,
) {
    match begin(&shared, instance, generation, launch).await {
        Ok((process, record)) => {
            let running = Running::new(shared, process, record, inbox, Freeze::Running);
            answer(tell, DriverAnswer::Taken);
            running.tell(DriverEvent::Started { instance, pid: running.record.pid }).await;
            running.run().await;
        }
        Err(reason) => {
            tracing::warn!(%instance, reason, "cannot start");
            shared.registry().forget(instance);
            answer(tell, DriverAnswer::Failed { reason: reason.clone() });
            inbox.close();
            while let Some(order) = inbox.recv().await {
                let started = matches!(order.ask, Ask::Start { .. });
                let reason = reason.clone();
                answer(order.tell, if started { DriverAnswer::Failed { reason } } else { DriverAnswer::Unknown });
            }
        }
    }
}

impl Running {
    pub(super) fn adopt(shared: Arc<Shared>, process: Process, record: Record, inbox: mpsc::Receiver<Order>) -> Self {
        let frozen = shared.cgroups.of(record.instance.0).is_frozen()
            || proc::stat(record.pid).is_ok_and(|stat| stat.is_stopped());
        let freeze = if frozen { Freeze::Frozen } else { Freeze::Running };
        tracing::info!(instance = %record.instance, agent = %record.agent, pid = record.pid, "adopted");
        Self::new(shared, process, record, inbox, freeze)
    }

    fn new(
        shared: Arc<Shared>,
        process: Process,
        record: Record,
        inbox: mpsc::Receiver<Order>,
        freeze: Freeze,
    ) -> Self {
        shared.registry().see(Seen {
            observed: Observed {
                instance: record.instance,
                agent: record.agent.clone(),
                side: record.side,
                generation: record.generation,
                pid: record.pid,
                frozen: freeze == Freeze::Frozen,
            },
            watch_bytes: record.watch_bytes,
        });
        let groups = shared.cgroups.of(record.instance.0);
        let process = Arc::new(process);
        Self { shared, process, groups, record, inbox, freeze, kill_at: None, out_of_memory: false }
    }

    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            tokio::select! {
                () = shared.detached.cancelled() => return,
                ended = self.process.ended() => match ended {
                    Ok(()) => break,
                    // Only when the runtime itself is going down.
                    Err(error) => return tracing::debug!(%error, "no longer watching"),
                },
                Some(order) = self.inbox.recv() => self.take(order).await,
                () = until(self.kill_at) => {
                    tracing::info!(instance = %self.record.instance, "its grace is over");
                    self.kill_at = None;
                    self.kill();
                }
                () = tokio::time::sleep(FREEZE_LOOK), if self.freeze == Freeze::UnderWay => self.look_at_freeze().await,
            }
        }
        self.end().await;
    }

    async fn take(&mut self, order: Order) {
        let known = self.record.clone();
        if let Some(generation) = order.generation {
            self.record.generation = generation;
        }
        let done = match order.ask {
            Ask::Start { .. } => Ok(()),
            Ask::Stop { grace } => self.stop(grace),
            Ask::Freeze => self.freeze().await,
            Ask::Thaw => self.thaw().await,
            Ask::EndForMemory => {
                self.out_of_memory = true;
                self.kill();
                Ok(())
            }
        };
        if self.record != known {
            self.write();
        }
        let taken = match done {
            Ok(()) => DriverAnswer::Taken,
            Err(error) => DriverAnswer::Failed { reason: format!("instance {}: {error}", self.record.instance) },
        };
        answer(order.tell, taken);
    }

    /// A second stop can only bring the end nearer.
    fn stop(&mut self, grace: Millis) -> io::Result<()> {
        let kill_at = Instant::now() + grace.to_std();
        if self.kill_at.is_none_or(|planned| kill_at < planned) {
            self.kill_at = Some(kill_at);
        }
        if self.record.asked {
            return Ok(());
        }
        self.record.asked = true;
        self.process.signal_group(Signal::TERM)?;
        self.wake()
    }

    async fn freeze(&mut self) -> io::Result<()> {
        if self.freeze != Freeze::Running {
            return Ok(());
        }
        let (process, groups, instance) = (self.process.clone(), self.groups.clone(), self.record.instance);
        blocking(move || {
            if !groups.make_freezer()? {
                return process.signal_group(Signal::STOP);
            }
            let mut held = BTreeSet::new();
            hold_all(&groups, instance, process.pid(), &mut held)?;
            groups.freeze()?;
            // What was born while the others were put in is caught now that they have stopped.
            hold_all(&groups, instance, process.pid(), &mut held)
        })
        .await?;
        self.freeze = Freeze::UnderWay;
        Ok(())
    }

    async fn look_at_freeze(&mut self) {
        let stopped = if self.shared.cgroups.freezer().is_some() {
            self.groups.is_frozen()
        } else {
            proc::stat(self.record.pid).is_ok_and(|stat| stat.is_stopped())
        };
        if stopped {
            self.freeze = Freeze::Frozen;
            self.shared.registry().set_frozen(self.record.instance, true);
            self.tell(DriverEvent::Frozen { instance: self.record.instance }).await;
        }
    }

    async fn thaw(&mut self) -> io::Result<()> {
        if self.freeze == Freeze::Running {
            return Ok(());
        }
        self.wake()?;
        self.freeze = Freeze::Running;
        self.shared.registry().set_frozen(self.record.instance, false);
        self.tell(DriverEvent::Thawed { instance: self.record.instance }).await;
        Ok(())
    }

    /// Both ways of freezing are undone: an earlier driver may have used the other one.
    fn wake(&self) -> io::Result<()> {
        self.groups.thaw()?;
        self.process.signal_group(Signal::CONT)
    }

    fn kill(&self) {
        // A group frozen by version 1 does not even die before it is thawed.
        let killed = self.process.signal_group(Signal::KILL).and_then(|()| self.groups.thaw());
        if let Err(error) = killed {
            tracing::error!(instance = %self.record.instance, %error, "cannot kill");
        }
    }

    async fn end(mut self) {
        let instance = self.record.instance;
        // While the first process is not reaped its number still names the group and nothing else.
        self.kill();
        let status = self.process.reap().unwrap_or_else(|error| {
            tracing::warn!(%instance, %error, "cannot learn how it ended");
            None
        });
        let exit = Exit {
            code: status.as_ref().and_then(rustix::process::WaitIdStatus::exit_status),
            signal: status.as_ref().and_then(rustix::process::WaitIdStatus::terminating_signal),
            out_of_memory: self.out_of_memory || self.groups.out_of_memory_kills() > 0,
            asked: self.record.asked,
        };
        self.record.ended = Some(exit.clone());
        self.write();
        self.shared.registry().ended(instance, self.record.generation, self.record.asked);
        self.shared.sweeper.ended(instance, self.groups.clone());
        self.tell(DriverEvent::Exited { instance, exit }).await;
        self.inbox.close();
        while let Some(order) = self.inbox.recv().await {
            let started = matches!(order.ask, Ask::Start { .. });
            answer(order.tell, if started { DriverAnswer::Taken } else { DriverAnswer::Unknown });
        }
    }

    fn write(&self) {
        if let Err(error) = self.shared.records.write(&self.record) {
            // The one that is there still names the process; a restart may see an older generation.
            tracing::error!(%error, "cannot renew an instance record");
        }
    }

    async fn tell(&self, event: DriverEvent) {
        // Fails only when nobody listens.
        drop(self.shared.events.send(event).await);
    }
}

/// Starts and records the process off the runtime's thread; whatever fails after the start ends it again.
async fn begin(
    shared: &Arc<Shared>,
    instance: InstanceId,
    generation: Generation,
    launch: Box<Launch>,
) -> Result<(Process, Record), String> {
    let _permit = shared.starting.acquire().await.map_err(|_closed| "the driver is being closed".to_owned())?;
    let worker = shared.clone();
    let started = tokio::task::spawn_blocking(move || {
        let pid = worker.launcher.start(instance, &launch).map_err(|error| error.to_string())?;
        let record = proc::stat(pid)
            .map_err(|error| format!("cannot read /proc/{pid}/stat: {error}"))
            .map(|stat| describe(&worker, instance, generation, &launch, pid, stat.started_ticks));
        let record = record.and_then(|record| {
            worker.records.write(&record).map_err(|error| bellwether_core::diagnostic::chain(&error))?;
            Ok(record)
        });
        Ok::<_, String>((pid, record))
    });
    let (pid, record) = started.await.map_err(|error| format!("the start was broken off: {error}"))??;
    let process = Process::open(pid).map_err(|error| format!("cannot watch process {pid}: {error}"))?;
    match record {
        Ok(record) => Ok((process, record)),
        Err(reason) => {
            if let Err(error) = process.signal_group(Signal::KILL) {
                tracing::error!(%instance, pid, %error, "cannot kill");
            }
            if process.ended().await.is_ok()
                && let Err(error) = process.reap()
            {
                tracing::warn!(%instance, pid, %error, "cannot reap");
            }
            Err(reason)
        }
    }
}

/// The limits are set right after the start, before the process has had time for memory worth counting.
fn describe(
    shared: &Shared,
    instance: InstanceId,
    generation: Generation,
    launch: &Launch,
    pid: u32,
    started_ticks: u64,
) -> Record {
    let groups = shared.cgroups.of(instance.0);
    let held = |what: &str, limited: io::Result<bool>| {
        limited.unwrap_or_else(|error| {
            tracing::warn!(%instance, what, %error, "cannot limit by a control group");
            false
        })
    };
    let enforced = launch.memory_limit_bytes.is_some_and(|bytes| held("memory", groups.limit_memory(pid, bytes)));
    if let Some(cores) = launch.cpu_limit {
        held("cpu", groups.limit_cpu(pid, cores));
    }
    Record {
        instance,
        agent: launch.agent.clone(),
        side: launch.side,
        generation,
        pid,
        started_ticks,
        boot: shared.boot.clone(),
        watch_bytes: launch.memory_limit_bytes.filter(|_| !enforced),
        asked: false,
        ended: None,
    }
}

/// Puts every process of the instance under the freezer, until a look finds no further one.
fn hold_all(groups: &Groups, instance: InstanceId, leader: u32, held: &mut BTreeSet<u32>) -> io::Result<()> {
    /// An instance that forks faster than this many looks is stopped as far as it was caught.
    const LOOKS_MAX: usize = 8;
    for _ in 0..LOOKS_MAX {
        let families = family::members(&proc::all()?, &HashMap::from([(leader, instance)]), "");
        let pids: BTreeSet<u32> = families.get(&instance).into_iter().flatten().map(|stat| stat.pid).collect();
        let fresh: BTreeSet<u32> = pids.difference(held).copied().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        groups.hold(&fresh)?;
        held.extend(fresh);
    }
    Ok(())
}

fn answer(tell: oneshot::Sender<DriverAnswer>, answer: DriverAnswer) {
    // Whoever asked may have stopped waiting; the command was carried out all the same.
    drop(tell.send(answer));
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
