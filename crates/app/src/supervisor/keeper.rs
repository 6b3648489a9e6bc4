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
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{back_off::BackOff, lock::Lock, state::State};

const LOG_MAX_BYTES: u64 = 16 << 20;
const LOG_BEAT: Duration = Duration::from_secs(5);

/// What is needed to start a child any number of times.
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) log: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    /// Its standard input: a child gets its listener where no other descriptor needs to be left open for it.
    listener: OwnedFd,
    /// Its standard output; see [`super::lock`].
    lock: File,
    /// A socket of the child's own that an earlier one may have left.
    socket: Option<PathBuf>,
}

/// A child that is kept running.
pub(super) struct Kept {
    pub(super) name: &'static str,
    pub(super) log: PathBuf,
    /// How the child last died, and how often it has.
    pub(super) deaths: watch::Receiver<(u32, String)>,
    stop: CancellationToken,
    grace: watch::Sender<Duration>,
    keeping: JoinHandle<()>,
}

impl Role {
    pub(super) fn gateway(state: &State, lock: &Lock, listener: TcpListener, port: u16) -> io::Result<Self> {
        let arguments = ["--port".to_owned(), port.to_string()];
        let socket = state.path().join("gateway.sock");
        Ok(Self { socket: Some(socket), ..Self::new("gateway", state, lock, listener, arguments.into())? })
    }

    pub(super) fn controller(
        state: &State,
        lock: &Lock,
        listener: TcpListener,
        gateway_port: u16,
        by_address: bool,
    ) -> io::Result<Self> {
        let mut arguments = vec!["--gateway-port".to_owned(), gateway_port.to_string()];
        if by_address {
            arguments.push("--by-address".to_owned());
        }
        Self::new("controller", state, lock, listener, arguments)
    }

    fn new(
        name: &'static str,
        state: &State,
        lock: &Lock,
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
            program: std::env::current_exe()?,
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
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.log)?;
        let child = Command::new(&self.program)
            .arg0("bellwether")
            .args(&self.arguments)
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
        let (died, deaths) = watch::channel((0, String::new()));
        let (grace, granted) = watch::channel(Duration::ZERO);
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(keep(role, died, stop.clone(), granted));
        Self { name, log, deaths, stop, grace, keeping }
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

async fn keep(
    role: Role,
    died: watch::Sender<(u32, String)>,
    stop: CancellationToken,
    grace: watch::Receiver<Duration>,
) {
    let mut back_off = BackOff::new();
    while !stop.is_cancelled() {
        let began = Instant::now();
        let why = match role.start() {
            Ok(process) => {
                tracing::info!(child = role.name, pid = process.pid(), "started");
                tokio::select! {
                    why = watch_over(&role, &process) => why,
                    () = stop.cancelled() => {
                        let grace = *grace.borrow();
                        return end(role.name, &process, grace).await;
                    }
                }
            }
            Err(error) => format!("cannot be started: {error}"),
        };
        let pause = back_off.after(began.elapsed());
        eprintln!("the {} {why}; starting it again in {} ms", role.name, pause.as_millis());
        tracing::warn!(child = role.name, why, "died");
        died.send_modify(|(times, last)| {
            *times += 1;
            *last = why;
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Until it has ended, and then how.
async fn watch_over(role: &Role, process: &Process) -> String {
    let mut beat = tokio::time::interval(LOG_BEAT);
    loop {
        tokio::select! {
            ended = process.ended() => {
                return match ended.and_then(|()| process.reap()) {
                    Ok(Some(status)) => {
                        match (status.exit_status(), status.terminating_signal()) {
                            (Some(code), _) => {
                                let how = format!("ended with code {code}");
                                last_words(&role.log).map_or(how.clone(), |words| format!("{how} ({words})"))
                            }
                            (None, Some(signal)) => format!("was ended by signal {signal}"),
                            (None, None) => "ended".to_owned(),
                        }
                    }
                    Ok(None) => "ended".to_owned(),
                    Err(error) => format!("is out of sight: {error}"),
                };
            }
            _ = beat.tick() => {
                if let Err(error) = logs::bound(&role.log, LOG_MAX_BYTES) {
                    tracing::warn!(child = role.name, %error, "cannot cut its log");
                }
            }
        }
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

/// The last error in the log, shortened: what a person wants to see first.
fn last_words(log: &Path) -> Option<String> {
    const TAIL_BYTES: u64 = 4096;
    const SHOWN_MAX: usize = 300;
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let text = String::from_utf8_lossy(&tail);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().rfind(|line| line.starts_with("error")).or_else(|| lines().next_back())?;
    Some(line.chars().take(SHOWN_MAX).collect())
}
