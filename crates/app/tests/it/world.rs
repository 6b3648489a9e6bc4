//! A small fleet of real processes, driven through the commands and the API that a user has.

use std::{
    cell::RefCell,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
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

/// What a world is made of.
pub(crate) struct Setup {
    pub(crate) fleet: String,
    pub(crate) release: String,
    /// Tasks per second.
    pub(crate) rate: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { fleet: FLEET.to_owned(), release: RELEASE.to_owned(), rate: "12" }
    }
}

/// Everything ends when this is dropped, and the state directory goes with it unless the test failed.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) gateway: String,
    pub(crate) control: String,
    rate: &'static str,
    serve: Process,
    ollama: RefCell<Option<Process>>,
    ollama_address: String,
}

pub(crate) struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(".".as_ref(), args)
    }

    pub(crate) fn start_in(dir: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(BIN)
            .args(args)
            .current_dir(dir)
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

/// The process that a supervisor has started in this role.
pub(crate) fn child(of: u32, role: &str) -> Option<u64> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    children.split_whitespace().find_map(|pid| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.contains(&format!("internal\0{role}")).then(|| pid.parse().ok()).flatten()
    })
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
        Self::start_with(name, &Setup::default())
    }

    pub(crate) fn start_with(name: &str, setup: &Setup) -> Self {
        Self::start_in(scratch(name), setup)
    }

    /// With whatever the directory holds: the agents are started in it.
    pub(crate) fn start_in(dir: PathBuf, setup: &Setup) -> Self {
        fs::write(dir.join("fleet.yaml"), &setup.fleet).expect("written");
        fs::write(dir.join("release.yaml"), &setup.release).expect("written");
        let (ollama, url) = start_ollama("127.0.0.1:0");
        let (serve, served) = serve_in(&dir, &url);
        let address = |what: &str| served[what].as_str().unwrap_or_else(|| panic!("no {what} in {served}")).to_owned();
        let world = Self {
            gateway: address("gateway"),
            control: address("control"),
            dir,
            rate: setup.rate,
            serve,
            ollama: RefCell::new(Some(ollama)),
            ollama_address: url.trim_start_matches("http://").to_owned(),
        };
        world
            .until("all agents are served by blue", |status| status["agents"][0].is_object() && all_on(status, "blue"));
        world
    }

    /// As a crash would.
    pub(crate) fn end_ollama(&self) {
        drop(self.ollama.take());
    }

    /// On the same port as before.
    pub(crate) fn start_ollama_again(&self) {
        self.ollama.replace(Some(start_ollama(&self.ollama_address).0));
    }

    pub(crate) fn status(&self) -> Value {
        get(&self.control, "/v1/status")
    }

    /// Polls until the condition holds and returns that status.
    pub(crate) fn until(&self, what: &str, holds: impl FnMut(&Value) -> bool) -> Value {
        self.until_within(Duration::from_secs(60), what, holds)
    }

    pub(crate) fn until_within(&self, within: Duration, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + within;
        loop {
            let status = self.status();
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "not within {within:?}: {what}; the status is {status:#}");
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
        self.start_rollout_after("3s");
    }

    /// With a baseline of this length.
    pub(crate) fn start_rollout_after(&self, baseline: &str) {
        let release = self.dir.join("release.yaml").display().to_string();
        let words = ["rollout", "start", "--release", &release, "--by", "test", "--baseline", baseline];
        let started = self.cli(&words);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    }

    pub(crate) fn supervisor(&self) -> u32 {
        self.serve.pid()
    }

    /// The controller or the gateway.
    pub(crate) fn pid_of_child(&self, role: &str) -> Option<u32> {
        child(self.serve.pid(), role).and_then(|pid| u32::try_from(pid).ok())
    }

    pub(crate) fn signal_serve(&self, name: &str) {
        self.serve.signal(name);
    }

    pub(crate) fn load(&self) -> Process {
        let fleet = self.dir.join("fleet.yaml").display().to_string();
        Process::start(&[
            "load",
            "--gateway",
            &self.gateway,
            "--fleet",
            &fleet,
            "--rate",
            self.rate,
            "--output",
            "json",
        ])
    }

    /// Follows the rollout to its end: the exit code, and how it ended.
    pub(crate) fn watch(&self) -> (Option<i32>, Value) {
        let watched = self.cli(&["rollout", "watch", "--output", "json"]);
        let said = String::from_utf8_lossy(&watched.stdout);
        (watched.status.code(), serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e} in {said:?}")))
    }

    pub(crate) fn roll_back(&self, reason: &str) {
        let asked = self.cli(&["rollout", "rollback", "--reason", reason, "--by", "test"]);
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    }

    /// What the driver recorded of each instance.
    pub(crate) fn instances(&self) -> Vec<Value> {
        let records = fs::read_dir(self.dir.join("state/instances")).expect("records");
        let records = records.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
        records.filter_map(|text| serde_json::from_str(&text).ok()).collect()
    }

    /// The process of an agent's instance.
    pub(crate) fn pid_of(&self, agent: &str, side: &str) -> Option<u32> {
        let found = self.instances().into_iter().filter(|record| record["agent"] == agent && record["side"] == side);
        let pids = found.filter_map(|record| u32::try_from(record["pid"].as_u64()?).ok());
        pids.filter(|pid| fs::metadata(format!("/proc/{pid}")).is_ok()).max()
    }

    /// Stops everything and checks that no process of the fleet is left.
    pub(crate) fn end(self) {
        let dir = self.dir.clone();
        let Self { serve, ollama: _ollama, .. } = self;
        serve.signal("TERM");
        let (code, _) = serve.ended(Duration::from_secs(30));
        assert_eq!(code, Some(0), "serve ends cleanly");
        assert_eq!(left(&dir), Vec::<String>::new(), "no process of the fleet is left");
        fs::remove_dir_all(&dir).expect("the state can be removed");
    }
}

pub(crate) fn start_ollama(listen: &str) -> (Process, String) {
    let mut ollama = Process::start(&["sim-ollama", "--listen", listen, "--output", "json"]);
    let url = ollama.says()["url"].as_str().expect("it has an address").to_owned();
    (ollama, url)
}

pub(crate) fn all_on(status: &Value, side: &str) -> bool {
    status["agents"].as_array().expect("agents").iter().all(|agent| agent["serving"] == side)
}

pub(crate) fn in_phase(status: &Value, phase: u64, step: &str) -> bool {
    let rollout = &status["rollout"];
    rollout["state"] == "progressing" && rollout["phase"] == phase && rollout["step"] == step
}

/// Command lines of processes that were started for this directory or carry its state in their environment.
pub(crate) fn left(dir: &Path) -> Vec<String> {
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

pub(crate) fn get(base: &str, path: &str) -> Value {
    let (status, body) = request(base, &format!("GET {path}"), "", "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}"))
}

/// The status and the answer.
pub(crate) fn post(base: &str, path: &str, body: &Value) -> (u16, Value) {
    let (status, body) = request(base, &format!("POST {path}"), "", &body.to_string());
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error} in {body}")))
}

/// `headers`: whole lines beside those that each request has.
pub(crate) fn request(base: &str, call: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = asked(base, call, headers, body);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

/// A connection on which a request was sent. The answer will be its last.
pub(crate) fn asked(base: &str, call: &str, headers: &str, body: &str) -> TcpStream {
    let address = base.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).expect("the server answers");
    let length = body.len();
    let head = format!(
        "{call} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
    stream
}

/// What `bellwether load --output json` reports when it is told to stop.
pub(crate) fn account(load: Process) -> Value {
    load.signal("TERM");
    let (_, said) = load.ended(Duration::from_secs(60));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said:?}"))
}

pub(crate) fn assert_nothing_lost(account: &Value) {
    assert_all_settled(account);
    assert_eq!(account["tasks"]["completed"], account["tasks"]["submitted"], "{account:#}");
}

/// Each task has come to exactly one end, though some may have been reported as failed.
pub(crate) fn assert_all_settled(account: &Value) {
    let count = |name: &str| account["tasks"][name].as_u64().expect("a count");
    assert_eq!(account["requests"]["failed"], 0, "{account:#}");
    assert_eq!((count("lost"), count("duplicated")), (0, 0), "{account:#}");
    assert_eq!(count("completed") + count("failed"), count("submitted"), "{account:#}");
    assert!(count("completed") > 20, "{account:#}");
}

/// `serve` of the fleet file in a directory, with its state beside it, and what it says first. It ends with its agents.
pub(crate) fn serve_in(dir: &Path, ollama: &str) -> (Process, Value) {
    let path = |file: &str| dir.join(file).display().to_string();
    let (fleet, state) = (path("fleet.yaml"), path("state"));
    let mut arguments = vec!["serve", "--fleet", &fleet, "--state", &state, "--ollama", ollama, "--stop-agents"];
    arguments.extend(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--end-with-parent", "--output", "json"]);
    let mut serve = Process::start_in(dir, &arguments);
    let served = serve.says();
    (serve, served)
}
