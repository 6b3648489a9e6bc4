//! What a person reads when something is wrong: each message with its exit code, as the binary gives it.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use crate::world::{BIN, Process, left, scratch};

const FLEET: &str = "\
version: 1
fleet: example
agents:
  defaults: {command: [sleep, '1000']}
  list:
    - {name: one, type: any, phase: 1}
    - {name: two, type: any, phase: 2}
rollout:
  drill: required
  phases:
    - {name: first, select: {phase: 1}}
    - {name: second, select: rest}
";

const RELEASE: &str = "version: 1\nrelease: v2\nset: {command: [sleep, '2000']}\n";

/// A directory from which commands are started; it goes when this is dropped.
struct Place {
    dir: PathBuf,
    /// What differs from run to run, and what stands for it.
    hidden: Vec<(String, &'static str)>,
}

impl Place {
    fn new(name: &str) -> Self {
        let dir = scratch(name);
        let codes = format!("lists all {}", bellwether_core::explain::all().len());
        let place = Self { hidden: vec![(dir.display().to_string(), "DIR"), (codes, "lists all N")], dir };
        place.file("fleet.yaml", FLEET).file("release.yaml", RELEASE)
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.join(name), text).expect("written");
        self
    }

    /// The command line, its exit code and what it says on standard error.
    fn told(&self, line: &str) -> String {
        let done = Command::new(BIN)
            .args(line.split_whitespace())
            .current_dir(&self.dir)
            .env("USER", "ann")
            .env_remove("BELLWETHER_CONTROL")
            .env_remove("OLLAMA_HOST")
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        let code = done.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string());
        let said = String::from_utf8_lossy(&done.stderr);
        let mut told = format!("$ bellwether {line}\n{said}exit code {code}\n");
        for (found, shown) in &self.hidden {
            told = told.replace(found, shown);
        }
        told
    }

    fn all(&self, lines: &[&str]) -> String {
        lines.iter().fold(String::new(), |mut page, line| {
            writeln!(page, "{}", self.told(line)).expect("strings take everything");
            page
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for line in left(&self.dir) {
            if let Some((pid, _)) = line.split_once(':') {
                drop(Command::new("kill").args(["-KILL", pid]).status());
            }
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

#[test]
fn files_that_cannot_be_read() {
    let place = Place::new("files")
        .file("broken.yaml", "version: 1\nagents: [a, b\n")
        .file("key.yaml", &FLEET.replace("agents:", "agnets:"))
        .file("phase.yaml", &FLEET.replace("phase: 1}}", "phase: 7}}"))
        .file("span.yaml", &FLEET.replace("drill: required", "baseline: 60"))
        .file("twice.yaml", &FLEET.replace("name: two", "name: one"))
        .file("ours.yaml", &FLEET.replace("'1000']", "'1000'], env: {OLLAMA_HOST: gpu}"))
        .file("typo.yaml", &RELEASE.replace("command", "comand"));
    let page = place.all(&[
        "plan --fleet nowhere.yaml --release release.yaml",
        "plan --release nowhere.yaml",
        "plan --fleet broken.yaml --release release.yaml",
        "plan --fleet key.yaml --release release.yaml",
        "plan --fleet phase.yaml --release release.yaml",
        "plan --fleet span.yaml --release release.yaml",
        "plan --fleet twice.yaml --release release.yaml",
        "plan --fleet ours.yaml --release release.yaml",
        "plan --release typo.yaml",
        "plan --fleet release.yaml --release fleet.yaml",
    ]);
    insta::assert_snapshot!(page);
}

#[test]
fn plans_that_cannot_be_made() {
    let place = Place::new("plans")
        .file("same.yaml", &RELEASE.replace("2000", "1000"))
        .file("name.yaml", &RELEASE.replace("v2", "v1"))
        .file("small.yaml", &format!("host: {{memory: 1GiB, reserve: 1GiB}}\n{FLEET}"));
    let page = place.all(&[
        "plan --release same.yaml",
        "plan --release name.yaml",
        "plan --fleet small.yaml --release release.yaml",
        "plan --release release.yaml --speed 0",
    ]);
    insta::assert_snapshot!(page);
}

#[test]
fn command_lines_that_cannot_be_read() {
    let place = Place::new("lines");
    let page = place.all(&[
        "rolout start",
        "rollout rolback",
        "plan --flet fleet.yaml --release release.yaml",
        "rollout start",
        "rollout start --release release.yaml --baseline 25",
        "rollout list --output yaml",
        "rollout rollback --only-agents one --only-phase first",
        "rollout hold-back",
        "rollout show first",
        "serve --listen localhost",
        "explain BW0170",
    ]);
    insta::assert_snapshot!(page);
}

#[test]
fn a_machine_that_is_not_as_it_should_be() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("it has one");
    let mut place = Place::new("machine").file("thesis.tex", "");
    place.hidden.push((taken.port().to_string(), "PORT"));
    let page = place.all(&[
        // Nobody listens on the port of `discard`.
        "rollout list --control http://127.0.0.1:9",
        &format!("serve --state state --listen 127.0.0.1:0 --control {taken}"),
        "serve --state state --listen 0.0.0.0:7400",
        "serve --state . --listen 127.0.0.1:0 --control 127.0.0.1:0",
        "serve --state release.yaml --listen 127.0.0.1:0 --control 127.0.0.1:0",
        "serve --ollama gpu:11434",
        "init",
        "init --output nowhere/fleet.yaml --ollama http://127.0.0.1:9",
        "load --gateway http://127.0.0.1:9",
        "internal controller --state state --parent 1 --gateway-port 1",
    ]);
    insta::assert_snapshot!(page);
}

#[test]
fn loads_that_cannot_be_measured() {
    let mut server =
        Process::start(&["sim-ollama", "--listen", "127.0.0.1:0", "--models", "tinyllama", "--output", "json"]);
    let url = server.says()["url"].as_str().expect("it says where it is").to_owned();
    let mut place = Place::new("loads");
    place.hidden.push((url.clone(), "http://SERVER"));
    let page = place.all(&[
        "bench model http://127.0.0.1:11434",
        "bench model --models tinyllama",
        "bench model --models tinyllama 127.0.0.1:11434 https://gpu http://gpu/m/{agent}",
        "bench model --models tinyllama --clients 0 --rounds 0 --leave 130% http://127.0.0.1:11434",
        "bench model --models tinyllama, --patience 10 http://127.0.0.1:11434",
        "bench model --models tinyllama, --for 1ms http://127.0.0.1:11434",
        "bench model --models tinyllama,llama3,tinyllama http://127.0.0.1:11434",
        "bench model --models tinyllama --header Authorization http://127.0.0.1:11434",
        // Nobody listens on the port of `discard`.
        "bench model --models tinyllama http://127.0.0.1:9",
        &format!("bench model --models tinyllama,llama3 {url}"),
        &format!("bench model --models tinyllama {url}/m/{{client}}"),
        &format!("bench model --models tinyllama --header Host:gpu {url}"),
    ]);
    insta::assert_snapshot!(page);
}

#[test]
fn an_address_that_is_not_a_controllers() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = server.local_addr().expect("it has one");
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("a question");
        let mut head = [0; 4096];
        let read = stream.read(&mut head).expect("it can be read");
        assert!(read > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").expect("answered");
    });
    let mut place = Place::new("strange");
    place.hidden.push((address.port().to_string(), "PORT"));
    let page = place.told(&format!("rollout list --control http://{address}"));
    insta::assert_snapshot!(page);
    answering.join().expect("it answered");
}

#[test]
fn what_a_controller_refuses() {
    let mut place = Place::new("refusals");
    let path = |file: &str| place.dir.join(file).display().to_string();
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
        "--stop-agents",
        "--end-with-parent",
        "--output",
        "json",
    ]);
    let served = serve.says();
    let control = served["control"].as_str().expect("an address").to_owned();
    place.hidden.push((control.clone(), "CONTROL"));
    place.hidden.push((serve.pid().to_string(), "PID"));
    let lines = [
        "rollout show",
        "rollout start --release release.yaml",
        "drill --release nowhere.yaml",
        "rollout show 9",
        "rollout pause 9",
    ];
    let with = |line: &str| format!("{line} --control {control}");
    let mut page = place.all(&lines.map(with).each_ref().map(String::as_str));

    // The baseline of an hour is being measured from here on.
    let mut drill = Command::new(BIN)
        .args(["drill", "--release", "release.yaml", "--control", &control])
        .current_dir(&place.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while place.told(&with("rollout show")).contains("exit code 1") {
        assert!(std::time::Instant::now() < deadline, "the drill begins");
        std::thread::sleep(Duration::from_millis(50));
    }
    let lines = [
        "drill --release release.yaml",
        "rollout promote",
        "rollout commit",
        "rollout hold-back three",
        "rollout rollback --only-types none",
        "rollout rollback --only-phase third",
        "serve --fleet fleet.yaml --state state --listen 127.0.0.1:0",
    ];
    let with = |line: &str| if line.starts_with("serve") { line.to_owned() } else { with(line) };
    page += &place.all(&lines.map(with).each_ref().map(String::as_str));
    drill.kill().expect("it runs");
    drill.wait().expect("it has ended");
    insta::assert_snapshot!(page);
    serve.signal("TERM");
    assert_eq!(serve.ended(Duration::from_secs(30)).0, Some(0));
}
