//! A small fleet of real processes, driven through the commands and the API that a user has.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_bellwether");

/// Five agents in three phases; bakes of two seconds. Blue asks for work often, so that little time is idle.
const FLEET: &str = "\
version: 1
fleet: test
agents:
  defaults:
    command: [bellwether, legacy-agent]
    env: {LEGACY_IDLE_MS: '150'}
    drain: 20s
  list:
    - {name: watcher, type: monitoring, model: tinyllama}
    - {name: builder, type: development, model: tinyllama}
    - {name: tester, type: development, model: tinyllama}
    - {name: seller, type: business, model: tinyllama}
    - {name: keeper, type: business, model: tinyllama, critical: true}
rollout:
  baseline: 3s
  validation: 2s
  crash_loop: 3
  phases:
    - {name: first, select: {type: monitoring}, bake: 2s, thin_evidence: accept}
    - {name: second, select: {type: development}, bake: 2s, thin_evidence: accept}
    - {name: third, select: rest, bake: 2s, thin_evidence: accept, last: {critical: true}}
";

const RELEASE: &str = "\
version: 1
release: v2
set:
  command: [bellwether, agent]
  http: true
  env: {BELLWETHER_IDLE_MS: '100'}
";

/// Everything ends when this is dropped, and the state directory goes with it unless the test failed.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) gateway: String,
    pub(crate) control: String,
    serve: Process,
    _ollama: Process,
}

pub(crate) struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(BIN)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let out = BufReader::new(child.stdout.take().expect("it was asked for"));
        Self { child, out }
    }

    pub(crate) fn says(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it says where it listens");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is not JSON: {error}"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end; returns the exit code and what it said on stdout.
    pub(crate) fn ended(mut self, within: Duration) -> (Option<i32>, String) {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                let mut said = String::new();
                self.out.read_to_string(&mut said).expect("it said something readable");
                return (status.code(), said);
            }
            assert!(Instant::now() < deadline, "process {} did not end within {within:?}", self.pid());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already in the good case; then both calls say so.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("there is a kill").success(), "cannot send {name} to {pid}");
}

pub(crate) fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("bw-it-{name}-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).expect("the temporary directory can be written");
    dir
}

impl World {
    pub(crate) fn start(name: &str) -> Self {
        let dir = scratch(name);
        fs::write(dir.join("fleet.yaml"), FLEET).expect("written");
        fs::write(dir.join("release.yaml"), RELEASE).expect("written");
        let mut ollama = Process::start(&["sim-ollama", "--listen", "127.0.0.1:0", "--output", "json"]);
        let url = ollama.says()["url"].as_str().expect("it has an address").to_owned();
        let path = |file: &str| dir.join(file).display().to_string();
        let mut serve = Process::start(&[
            "serve",
            "--fleet",
            &path("fleet.yaml"),
            "--state",
            &path("state"),
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--ollama",
            &url,
            "--stop-agents",
            "--end-with-parent",
            "--output",
            "json",
        ]);
        let served = serve.says();
        let address = |what: &str| served[what].as_str().unwrap_or_else(|| panic!("no {what} in {served}")).to_owned();
        let world = Self { gateway: address("gateway"), control: address("control"), dir, serve, _ollama: ollama };
        world.until("all agents are served by blue", |status| {
            let agents = status["agents"].as_array().expect("agents");
            agents.len() == 5 && agents.iter().all(|agent| agent["serving"] == "blue")
        });
        world
    }

    pub(crate) fn status(&self) -> Value {
        get(&self.control, "/v1/status")
    }

    /// Polls until the condition holds and returns that status.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "not within a minute: {what}; the status is {status:#}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        Command::new(BIN)
            .args(args)
            .env("BELLWETHER_CONTROL", &self.control)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts")
    }

    pub(crate) fn start_rollout(&self) {
        let release = self.dir.join("release.yaml").display().to_string();
        let started = self.cli(&["rollout", "start", "--release", &release, "--by", "test"]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    }

    pub(crate) fn load(&self) -> Process {
        let fleet = self.dir.join("fleet.yaml").display().to_string();
        Process::start(&["load", "--gateway", &self.gateway, "--fleet", &fleet, "--rate", "12", "--output", "json"])
    }

    /// The process of an agent's instance, as the driver recorded it.
    pub(crate) fn pid_of(&self, agent: &str, side: &str) -> Option<u32> {
        let records = fs::read_dir(self.dir.join("state/instances")).expect("records");
        let records = records.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let found = records
            .filter_map(|text| serde_json::from_str::<Value>(&text).ok())
            .filter(|record| record["agent"] == agent && record["side"] == side);
        let pids = found.filter_map(|record| u32::try_from(record["pid"].as_u64()?).ok());
        pids.filter(|pid| fs::metadata(format!("/proc/{pid}")).is_ok()).max()
    }

    /// Stops everything and checks that no process of the fleet is left.
    pub(crate) fn end(self) {
        let dir = self.dir.clone();
        let Self { serve, .. } = self;
        serve.signal("TERM");
        let (code, _) = serve.ended(Duration::from_secs(30));
        assert_eq!(code, Some(0), "serve ends cleanly");
        assert_eq!(left(&dir), Vec::<String>::new(), "no process of the fleet is left");
        fs::remove_dir_all(&dir).expect("the state can be removed");
    }
}

/// Command lines of processes that were started for this directory or carry its state in their environment.
pub(crate) fn left(dir: &std::path::Path) -> Vec<String> {
    let needle = dir.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if pid == std::process::id() {
            continue;
        }
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let logs = fs::read_link(format!("/proc/{pid}/fd/1")).unwrap_or_default();
        if command.contains(&needle) || logs.starts_with(dir) {
            found.push(format!("{pid}: {}", command.replace('\0', " ")));
        }
    }
    found
}

fn get(base: &str, path: &str) -> Value {
    let address = base.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).expect("the control API answers");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {body}"))
}

/// What `bellwether load --output json` reports when it is told to stop.
pub(crate) fn account(load: Process) -> Value {
    load.signal("TERM");
    let (_, said) = load.ended(Duration::from_secs(60));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said:?}"))
}

pub(crate) fn assert_nothing_lost(account: &Value) {
    assert_eq!(account["requests"]["failed"], 0, "{account:#}");
    assert_eq!(account["tasks"]["lost"], 0, "{account:#}");
    assert_eq!(account["tasks"]["duplicated"], 0, "{account:#}");
    assert_eq!(account["tasks"]["completed"], account["tasks"]["submitted"], "{account:#}");
    assert!(account["tasks"]["completed"].as_u64().expect("a count") > 20, "{account:#}");
}
