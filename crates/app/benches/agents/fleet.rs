//! So many processes of one kind, and what the kernel says that they hold.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

const BIN: &str = env!("CARGO_BIN_EXE_bellwether");

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `bellwether agent`
    Green,
    /// `bellwether legacy-agent`
    Blue,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Green => "agent",
            Self::Blue => "legacy-agent",
        }
    }
}

/// Ended when it is dropped.
pub(crate) struct Fleet {
    children: Vec<Child>,
}

/// Of one process, in bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) resident: u64,
    /// What is shared counts by as many parts as there are processes that share it.
    pub(crate) proportional: u64,
    pub(crate) anonymous: u64,
}

impl Fleet {
    pub(crate) fn start(kind: Kind, count: usize, backend: SocketAddr) -> Result<Self, String> {
        let mut fleet = Self { children: Vec::with_capacity(count) };
        let url = format!("http://{backend}");
        for number in 0..count {
            let child = Command::new(BIN)
                .arg(kind.name())
                .env_clear()
                .env("AGENT_NAME", format!("agent-{number:03}"))
                .env("AGENT_TYPE", "worker")
                .env("BACKEND_URL", &url)
                .env("OLLAMA_URL", &url)
                .env("MODEL_NAME", "tinyllama")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| format!("cannot start {BIN}: {error}"))?;
            fleet.children.push(child);
        }
        Ok(fleet)
    }

    /// In the order of the processes.
    pub(crate) fn held(&self) -> Result<Vec<Held>, String> {
        self.children.iter().map(|child| held(child.id())).collect()
    }

    /// Processor time of all since they began.
    pub(crate) fn busy(&self) -> Result<Duration, String> {
        self.children.iter().map(|child| busy(child.id())).sum()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already; then there is nothing to end.
            child.kill().ok();
        }
        for child in &mut self.children {
            child.wait().ok();
        }
    }
}

fn held(pid: u32) -> Result<Held, String> {
    let text = read(pid, "smaps_rollup")?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("the kernel does not tell {name}"))
    };
    Ok(Held { resident: field("Rss")?, proportional: field("Pss")?, anonymous: field("Anonymous")? })
}

/// Of all its threads that live. Ticks would be too coarse: an idle agent never works for a whole one.
fn busy(pid: u32) -> Result<Duration, String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
    threads
        .map(|thread| {
            let thread = thread.map_err(|error| error.to_string())?;
            let text = fs::read_to_string(thread.path().join("schedstat")).map_err(|error| error.to_string())?;
            let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
            nanos.map(Duration::from_nanos).ok_or_else(|| "the kernel does not tell processor time".to_owned())
        })
        .sum()
}

fn read(pid: u32, file: &str) -> Result<String, String> {
    fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|error| format!("an agent ended, or cannot be looked at: {error}"))
}
