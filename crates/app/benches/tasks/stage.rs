//! A real `serve` whose agents are processes that do nothing: the bench plays them, with what each has in its
//! environment.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::Connection;

const READY_MAX: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_millis(20);

pub(crate) struct Stage {
    dir: PathBuf,
    serve: Child,
    pub(crate) gateway: String,
    /// Each with its name and what it knows as `BACKEND_URL`, without scheme and host.
    pub(crate) agents: Vec<Agent>,
}

#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) base: String,
}

/// A directory that goes when it is dropped.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("bw-bench-tasks-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is found in the temporary directory.
        fs::remove_dir_all(&self.0).ok();
    }
}

impl Stage {
    pub(crate) fn set(scratch: &Scratch, agents: usize) -> Result<Self, String> {
        let dir = scratch.0.clone();
        let (fleet, state) = (dir.join("fleet.yaml"), dir.join("state"));
        fs::write(&fleet, fleet_file(agents)).map_err(|error| error.to_string())?;
        let mut serve = Command::new(env!("CARGO_BIN_EXE_bellwether"))
            .arg("serve")
            .arg("--fleet")
            .arg(&fleet)
            .arg("--state")
            .arg(&state)
            .args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--ollama", "http://127.0.0.1:9"])
            .args(["--stop-agents", "--end-with-parent", "--output", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut said = String::new();
        if let Some(output) = serve.stdout.take() {
            BufReader::new(output).read_line(&mut said).map_err(|error| error.to_string())?;
        }
        let mut stage = Self { dir, serve, gateway: String::new(), agents: Vec::new() };
        let served: Value = serde_json::from_str(&said).map_err(|error| format!("serve said {said:?}: {error}"))?;
        stage.gateway = served["gateway"].as_str().unwrap_or_default().to_owned();
        stage.agents = until("the agents run", || Some(stage.started()).filter(|all| all.len() == agents))?;
        Ok(stage)
    }

    /// The gateway's process.
    pub(crate) fn gateway_pid(&self) -> Option<u32> {
        let pid = self.serve.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|child| child.parse().ok()).find(|child: &u32| {
            let command = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            command.contains("internal\0gateway\0")
        })
    }

    /// Of the whole state that the gateway keeps on the disk.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let size = |name: &str| fs::metadata(self.dir.join("state").join(name)).map_or(0, |file| file.len());
        size("gateway.sqlite") + size("gateway.sqlite-wal")
    }

    pub(crate) fn connect(&self) -> Result<Connection, String> {
        Connection::open(&self.gateway).map_err(|error| error.to_string())
    }

    /// An agent is there when it has asked for work; then tasks go to it.
    pub(crate) fn wake(&self, agent: &Agent) -> Result<(), String> {
        let mut connection = self.connect()?;
        let path = format!("{}/api/agents/heartbeat", agent.base);
        let beat = format!("{{\"agent_name\":\"{}\",\"status\":\"active\"}}", agent.name);
        connection.post(&path, &beat).map(drop).map_err(|error| error.to_string())
    }

    fn started(&self) -> Vec<Agent> {
        let records = fs::read_dir(self.dir.join("state").join("instances")).into_iter().flatten().flatten();
        records.filter_map(|entry| agent(&entry.path())).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.serve.id()).ok().and_then(Pid::from_raw) {
            // It may be gone; then there is nobody to tell.
            kill_process(pid, Signal::TERM).ok();
        }
        self.serve.wait().ok();
    }
}

/// From the driver's record of an instance and the environment of its process.
fn agent(record: &Path) -> Option<Agent> {
    let record: Value = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    let environment = fs::read(format!("/proc/{}/environ", record["pid"])).ok()?;
    let environment = String::from_utf8(environment).ok()?;
    let url = environment.split('\0').find_map(|variable| variable.strip_prefix("BACKEND_URL=http://"))?;
    let base = format!("/{}", url.split_once('/')?.1);
    Some(Agent { name: record["agent"].as_str()?.to_owned(), base })
}

fn fleet_file(agents: usize) -> String {
    let mut text =
        "version: 1\nfleet: tasks\ntasks: {waiting: 1000000, lease: 10m}\nagents:\n  defaults: {command: [sleep, \
                    infinity], boot: 60m, type: worker}\n  list:\n"
            .to_owned();
    for number in 0..agents {
        // Nothing fails that is written to a string.
        writeln!(text, "    - agent-{number:03}").ok();
    }
    text
}

pub(crate) fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> Result<T, String> {
    let deadline = Instant::now() + READY_MAX;
    loop {
        if let Some(seen) = look() {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            return Err(format!("not within {} s: {what}", READY_MAX.as_secs()));
        }
        thread::sleep(BEAT);
    }
}
