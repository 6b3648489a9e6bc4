//! The other end: what a gateway or controller process does first.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal},
    net::TcpListener,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
    sync::Mutex,
};

use bellwether_drivers::linux::{self, Signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, fmt};

/// What the supervisor handed on. The lock is held for as long as this process lives.
pub(crate) struct Inherited {
    pub(crate) listener: TcpListener,
    pub(crate) shutdown: CancellationToken,
    pub(crate) lock: OwnedFd,
}

impl Inherited {
    /// Takes the listener from standard input and the lock from standard output, ties this process to its
    /// parent, and listens for the signal to end.
    pub(crate) fn take(parent: u32) -> io::Result<Self> {
        // Killed and not asked: a controller that is still ending must not meet the next one at the journal.
        linux::end_with_parent(parent, Signal::KILL)?;
        log_to_stderr();
        raise_open_files();
        let listener = io::stdin().as_fd().try_clone_to_owned()?;
        let lock = io::stdout().as_fd().try_clone_to_owned()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        let shutdown = CancellationToken::new();
        cancel_on_signal(shutdown.clone())?;
        Ok(Self { listener: TcpListener::from(listener), shutdown, lock })
    }
}

/// For the supervisor itself, whose standard error is for people.
pub(super) fn log_to_file(path: &Path) {
    match OpenOptions::new().append(true).create(true).mode(0o600).open(path) {
        Ok(file) => {
            let subscriber = fmt().with_env_filter(filter()).with_ansi(false).with_writer(Mutex::new(file));
            // Fails only where a subscriber is set already.
            drop(subscriber.try_init());
        }
        Err(error) => eprintln!("cannot log to {}: {error}", path.display()),
    }
}

pub(crate) fn log_to_stderr() {
    let subscriber = fmt().with_env_filter(filter()).with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    // Fails only where a subscriber is set already.
    drop(subscriber.try_init());
}

fn filter() -> EnvFilter {
    EnvFilter::try_from_env("BELLWETHER_LOG").unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Each agent holds several connections; the usual soft limit of 1024 is for programs that use `select`.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// On a thread of its own: the process is run by code that blocks the main one.
fn cancel_on_signal(shutdown: CancellationToken) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    // Heard and ignored: the supervisor gets them too, and ends its children in order.
    let mut ignored = [signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    drop(guard);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let [interrupt, hang_up] = &mut ignored;
            loop {
                tokio::select! {
                    _ = terminate.recv() => return shutdown.cancel(),
                    _ = interrupt.recv() => {}
                    _ = hang_up.recv() => {}
                }
            }
        });
    })?;
    Ok(())
}
