//! Keeps one child running: starts it, starts it again when it dies, ends it when asked.

use std::{
    fs::{File, OpenOptions},
    io,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bellwether_drivers::{
    linux::{Process, Signal},
    logs,
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    back_off::BackOff,
    lock::Lock,
    orders::{Handle, Order},
    program::Program,
    state::State,
    succession::{self, NotTaken, take_place},
};
use crate::failure::Exit;

/// Between two tries of a child that cannot go on before a person has done something.
const LASTING_PAUSE: Duration = Duration::from_secs(30);
const LOG_MAX_BYTES: u64 = 16 << 20;
const LOG_BEAT: Duration = Duration::from_secs(5);
/// What a child that is replaced, and not with everything, may take to end.
const RESTART_GRACE: Duration = Duration::from_secs(5);

/// What is needed to start a child any number of times.
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) log: PathBuf,
    program: Program,
    state: PathBuf,
    arguments: Vec<String>,
    /// Its standard input: a child gets its listener where no other descriptor needs to be left open for it.
    listener: OwnedFd,
    /// Its standard output; see [`super::lock`].
    lock: File,
    /// A socket of the child's own that an earlier one may have left.
    socket: Option<PathBuf>,
}

/// How the child last died, and how often it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Deaths {
    pub(super) times: u32,
    pub(super) last: String,
    /// It will die of the same again until a person has done something.
    pub(super) lasting: bool,
}

/// A child that is kept running.
pub(super) struct Kept {
    pub(super) name: &'static str,
    pub(super) log: PathBuf,
    pub(super) deaths: watch::Receiver<Deaths>,
    stop: CancellationToken,
    grace: watch::Sender<Duration>,
    orders: mpsc::Sender<Order>,
    keeping: JoinHandle<()>,
}

impl Role {
    pub(super) fn gateway(
        state: &State,
        lock: &Lock,
        program: &Program,
        listener: TcpListener,
        port: u16,
    ) -> io::Result<Self> {
        let arguments = ["--port".to_owned(), port.to_string()];
        let socket = state.path().join("gateway.sock");
        Ok(Self { socket: Some(socket), ..Self::new("gateway", state, lock, program, listener, arguments.into())? })
    }

    pub(super) fn controller(
        state: &State,
        lock: &Lock,
        program: &Program,
        listener: TcpListener,
        gateway_port: u16,
        by_address: bool,
    ) -> io::Result<Self> {
        let mut arguments = vec!["--gateway-port".to_owned(), gateway_port.to_string()];
        if by_address {
            arguments.push("--by-address".to_owned());
        }
        Self::new("controller", state, lock, program, listener, arguments)
    }

    fn new(
        name: &'static str,
        state: &State,
        lock: &Lock,
        program: &Program,
        listener: TcpListener,
        mut own: Vec<String>,
    ) -> io::Result<Self> {
        let mut arguments = ["internal", name, "--state"].map(str::to_owned).to_vec();
        arguments.push(state.path().to_string_lossy().into_owned());
        arguments.extend(["--parent".to_owned(), std::process::id().to_string()]);
        arguments.append(&mut own);
        Ok(Self {
            name,
            log: state.log(name),
            program: program.clone(),
            state: state.path().to_owned(),
            arguments,
            listener: listener.into(),
            lock: lock.share()?,
            socket: None,
        })
    }

    /// The child stays in this process group: a terminal's Ctrl-Z stops all, and Ctrl-C is for the supervisor,
    /// which ends its children in order; they take no notice of it.
    fn start(&self) -> io::Result<Process> {
        if let Some(socket) = &self.socket {
            match std::fs::remove_file(socket) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.run(&self.program, &[])
    }

    /// Beside one that runs and goes on. It finds that one by itself.
    pub(super) fn beside(&self, program: &Program, finish_within: Duration) -> io::Result<Process> {
        self.run(program, &["--finish-within-ms".to_owned(), finish_within.as_millis().to_string()])
    }

    /// Of a gateway with this process number.
    pub(super) fn heir_socket(&self, pid: u32) -> PathBuf {
        succession::heir_socket(&self.state, pid)
    }

    fn run(&self, program: &Program, more: &[String]) -> io::Result<Process> {
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.log)?;
        let child = Command::new(program.executable())
            .arg0("bellwether")
            .args(&self.arguments)
            .args(more)
            .stdin(Stdio::from(self.listener.try_clone()?))
            .stdout(Stdio::from(self.lock.try_clone()?))
            .stderr(log)
            .spawn()?;
        Process::open(child.id())
    }
}

impl Kept {
    pub(super) fn keep(role: Role) -> Self {
        let (name, log) = (role.name, role.log.clone());
        let (died, deaths) = watch::channel(Deaths::default());
        let (grace, granted) = watch::channel(Duration::ZERO);
        let stop = CancellationToken::new();
        let (orders, ordered) = mpsc::channel(1);
        let keeper = Keeper { role, died, stop: stop.clone(), grace: granted, lingering: JoinSet::new() };
        let keeping = tokio::spawn(keeper.keep(ordered));
        Self { name, log, deaths, stop, grace, orders, keeping }
    }

    pub(super) fn handle(&self) -> Handle {
        Handle::new(self.orders.clone(), self.deaths.clone())
    }

    /// Asks the child to end, and after `grace` makes it.
    pub(super) async fn end(self, grace: Duration) {
        self.grace.send_replace(grace);
        self.stop.cancel();
        if let Err(error) = self.keeping.await {
            tracing::error!(%error, child = self.name, "keeping it failed");
        }
    }
}

struct Keeper {
    role: Role,
    died: watch::Sender<Deaths>,
    stop: CancellationToken,
    grace: watch::Receiver<Duration>,
    /// Children that gave their place away, and finish what they have.
    lingering: JoinSet<()>,
}

/// Why a child is no longer watched over.
enum Left {
    /// It has died, and how.
    Died(End),
    /// It was ended to make room for another program.
    Ended,
    /// Everything is being stopped, and it has ended.
    Stopped,
}

impl Keeper {
    async fn keep(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut back_off = BackOff::new();
        let mut told = String::new();
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let left = match self.role.start() {
                Ok(process) => {
                    tracing::info!(child = self.role.name, pid = process.pid(), "started");
                    self.watch(process, &mut orders).await
                }
                Err(error) => Left::Died(End::passing(format!("cannot be started: {error}"))),
            };
            let End { how, lasting } = match left {
                Left::Died(end) => end,
                Left::Ended => {
                    back_off = BackOff::new();
                    continue;
                }
                Left::Stopped => break,
            };
            let usual = back_off.after(began.elapsed());
            let pause = if lasting { LASTING_PAUSE } else { usual };
            // What stays as it is is said once.
            if !lasting || told != how {
                eprintln!("the {} {how}; starting it again in {} ms", self.role.name, pause.as_millis());
            }
            tracing::warn!(child = self.role.name, how, lasting, "died");
            told.clone_from(&how);
            self.died.send_modify(|deaths| *deaths = Deaths { times: deaths.times + 1, last: how, lasting });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => break,
                // Who would have another program need not wait for this one.
                Some(order) = orders.recv() => self.obey_while_none_runs(order),
            }
        }
        self.lingering.join_all().await;
    }

    async fn watch(&mut self, mut process: Process, orders: &mut mpsc::Receiver<Order>) -> Left {
        loop {
            let order = tokio::select! {
                end = watch_over(&self.role, &process) => return Left::Died(end),
                () = self.stop.cancelled() => {
                    let grace = *self.grace.borrow();
                    end(self.role.name, &process, grace).await;
                    return Left::Stopped;
                }
                Some(order) = orders.recv() => order,
            };
            match order {
                Order::Restart { program, tell } => {
                    end(self.role.name, &process, RESTART_GRACE).await;
                    self.role.program = program;
                    // Who asked may be gone.
                    tell.send(()).ok();
                    return Left::Ended;
                }
                Order::Succeed { program, finish_within, tell } => {
                    let taken = tokio::select! {
                        taken = take_place(&self.role, &program, finish_within, &process) => taken,
                        // The new one ends with this process.
                        () = self.stop.cancelled() => continue,
                    };
                    match taken {
                        Ok((new, took_over)) => {
                            tracing::info!(child = self.role.name, pid = new.pid(), "took over");
                            self.linger(std::mem::replace(&mut process, new));
                            self.role.program = program;
                            drop(tell.send(Ok(took_over)));
                        }
                        Err(NotTaken { why, old_serves }) => {
                            drop(tell.send(Err(format!("it {why}"))));
                            if !old_serves {
                                self.linger(process);
                                return Left::Died(End::passing(
                                    "gave its place to one that never came to serve".to_owned(),
                                ));
                            }
                        }
                    }
                }
            }
        }
    }

    fn obey_while_none_runs(&mut self, order: Order) {
        match order {
            Order::Restart { program, tell } => {
                self.role.program = program;
                tell.send(()).ok();
            }
            Order::Succeed { tell, .. } => {
                drop(tell.send(Err("has nobody to take over from at the moment".to_owned())));
            }
        }
    }

    /// It ends by itself, or with everything.
    fn linger(&mut self, process: Process) {
        let (name, stop, grace) = (self.role.name, self.stop.clone(), self.grace.clone());
        let log = self.role.log.clone();
        self.lingering.spawn(async move {
            tokio::select! {
                ended = process.ended() => {
                    let End { how, lasting: _ } = ended_how(&log, &process, ended);
                    tracing::info!(child = name, pid = process.pid(), how, "the one before has ended");
                }
                () = stop.cancelled() => {
                    let grace = *grace.borrow();
                    end(name, &process, grace).await;
                }
            }
        });
    }
}

/// Until it has ended, and then how, and whether it would only end in the same way again.
async fn watch_over(role: &Role, process: &Process) -> End {
    let mut beat = tokio::time::interval(LOG_BEAT);
    loop {
        tokio::select! {
            ended = process.ended() => return ended_how(&role.log, process, ended),
            _ = beat.tick() => {
                // The supervisor's own grows as well, and has nobody else who looks after it.
                let own = (role.name == "gateway").then(|| role.log.with_file_name("supervisor.log"));
                for log in std::iter::once(&role.log).chain(&own) {
                    if let Err(error) = logs::bound(log, LOG_MAX_BYTES) {
                        tracing::warn!(log = %log.display(), %error, "cannot cut a log");
                    }
                }
            }
        }
    }
}

/// How a child ended.
pub(super) struct End {
    pub(super) how: String,
    /// It would only end in the same way again, until a person has done something.
    lasting: bool,
}

impl End {
    fn passing(how: String) -> Self {
        Self { how, lasting: false }
    }
}

/// Of a child that has ended, which is reaped by this.
pub(super) fn ended_how(log: &Path, process: &Process, ended: io::Result<()>) -> End {
    match ended.and_then(|()| process.reap()) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => {
                let how = format!("ended with code {code}");
                let how = last_words(log).map_or(how.clone(), |words| format!("{how} ({words})"));
                End { how, lasting: code == i32::from(Exit::Invalid as u8) }
            }
            (None, Some(signal)) => End::passing(format!("was ended by signal {signal}")),
            (None, None) => End::passing("ended".to_owned()),
        },
        Ok(None) => End::passing("ended".to_owned()),
        Err(error) => End::passing(format!("is out of sight: {error}")),
    }
}

async fn end(name: &str, process: &Process, grace: Duration) {
    if let Err(error) = process.signal(Signal::TERM) {
        tracing::error!(child = name, %error, "cannot ask it to end");
    }
    if timeout(grace, process.ended()).await.is_err() {
        tracing::warn!(child = name, grace_ms = grace.as_millis(), "did not end in its grace and is killed");
        if let Err(error) = process.signal(Signal::KILL) {
            tracing::error!(child = name, %error, "cannot kill it");
        }
        if let Err(error) = process.ended().await {
            tracing::error!(child = name, %error, "cannot see it end");
        }
    }
    if let Err(error) = process.reap() {
        tracing::warn!(child = name, %error, "cannot reap it");
    }
}

/// The last error in the log with its cause and what to do, shortened: what a person wants to see first.
fn last_words(log: &Path) -> Option<String> {
    const TAIL_BYTES: u64 = 4096;
    const SHOWN_MAX: usize = 1200;
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words = match lines.iter().rposition(|line| line.starts_with("error")) {
        Some(at) => {
            let more = lines[at + 1..].iter().map_while(|line| line.strip_prefix("= "));
            std::iter::once(lines[at]).chain(more).collect::<Vec<_>>().join("; ")
        }
        None => (*lines.last()?).to_owned(),
    };
    Some(words.chars().take(SHOWN_MAX).collect())
}
