//! The gateway in a process of its own: this program again, with a hidden argument.
//!
//! Shared by the benchmarks of this crate.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use bellwether_core::spec::Spec;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub(crate) struct Gateway {
    child: Child,
    address: SocketAddr,
    link: PathBuf,
    _state: State,
}

/// What the child is told.
#[derive(Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) spec: Spec,
    pub(crate) threads: usize,
}

impl Gateway {
    pub(crate) fn start(setup: &Setup) -> anyhow::Result<Self> {
        let state = State::new()?;
        fs::write(state.0.join("setup.json"), serde_json::to_vec(setup)?)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--as-gateway")
            .arg(&state.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the gateway")?;
        let mut port = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut port)?;
        }
        let link = state.0.join("gateway.sock");
        let mut gateway = Self { child, address: ([127, 0, 0, 1], 0).into(), link, _state: state };
        let port = port.trim().parse().context("the gateway ended before it told its port")?;
        gateway.address.set_port(port);
        Ok(gateway)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn link(&self) -> &Path {
        &self.link
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as it ends in earnest.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Gateway {
    /// After [`Gateway::stop`] there is nothing left to end.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The gateway's state directory, removed with it.
struct State(PathBuf);

impl State {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("bellwether-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// The child: serves until its standard input ends, which it does at the latest with the parent.
pub(crate) fn serve(state: &Path) -> anyhow::Result<()> {
    let Setup { spec, threads } = serde_json::from_slice(&fs::read(state.join("setup.json"))?)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let mut output = std::io::stdout();
    writeln!(output, "{port}")?;
    output.flush()?;
    let shutdown = CancellationToken::new();
    let ending = shutdown.clone();
    thread::spawn(move || {
        // However the wait ends, there is nobody left to serve.
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        ending.cancel();
    });
    let config = bellwether_gateway::Config {
        listener,
        store: state.join("gateway.sqlite"),
        link: state.join("gateway.sock"),
        heir: state.join("heir-bench"),
        finish_within: Duration::ZERO,
        port,
        spec,
        threads,
    };
    if let Err(error) = bellwether_gateway::run(config, shutdown) {
        bail!("the gateway stopped: {:#}", anyhow::Error::from(error));
    }
    Ok(())
}
