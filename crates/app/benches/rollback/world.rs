//! One fleet from its start to its end, by the commands of a user.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::fleet::Kind;

const BIN: &str = env!("CARGO_BIN_EXE_bellwether");

pub(crate) struct World {
    dir: PathBuf,
    gateway: String,
    control: String,
    serve: Process,
    _ollama: Process,
    agents: usize,
}

/// What the journal says of the way back.
pub(crate) struct Back {
    pub(crate) on_blue_s: f64,
    pub(crate) validated_s: f64,
    pub(crate) memory_peak_mib: u64,
}

/// Ended when it is dropped.
pub(crate) struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

const READY_MAX: Duration = Duration::from_secs(120);
const ROLLOUT_MAX: Duration = Duration::from_secs(600);
const BEAT: Duration = Duration::from_millis(50);

impl World {
    /// Until all agents are served by blue.
    pub(crate) fn start(kind: &Kind, standby: &str) -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("bw-bench-{}-{standby}-{}", kind.name, std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        for (name, text) in [("fleet.yaml", kind.fleet_file(standby)), ("release.yaml", kind.release_file())] {
            fs::write(dir.join(name), text).map_err(|error| error.to_string())?;
        }
        let path = |name: &str| dir.join(name).display().to_string();
        let mut ollama = Process::start(&["sim-ollama", "--listen", "127.0.0.1:0", "--output", "json"])?;
        let url = text(&ollama.says()?, "url")?;
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
        ])?;
        let served = serve.says()?;
        let (gateway, control) = (text(&served, "gateway")?, text(&served, "control")?);
        let world = Self { dir, gateway, control, serve, _ollama: ollama, agents: kind.agents };
        world.until("all agents are on blue", READY_MAX, |status| world.on(status, "blue") == world.agents)?;
        Ok(world)
    }

    pub(crate) fn load(&self, rate: u32) -> Result<Process, String> {
        let fleet = self.dir.join("fleet.yaml").display().to_string();
        let rate = rate.to_string();
        Process::start(&["load", "--gateway", &self.gateway, "--fleet", &fleet, "--rate", &rate, "--output", "json"])
    }

    pub(crate) fn rolled_out(&self) -> Result<(), String> {
        let release = self.dir.join("release.yaml").display().to_string();
        self.command(&["rollout", "start", "--release", &release, "--by", "bench"])?;
        self.until("the rollout is over", ROLLOUT_MAX, |status| {
            !matches!(state(status), "preflight" | "progressing" | "validating")
        })?;
        let status = self.status()?;
        if state(&status) != "completed" {
            return Err(format!("the rollout ended {}: {}", state(&status), status["rollout"]["rollback"]["trigger"]));
        }
        Ok(())
    }

    pub(crate) fn rolled_back(&mut self) -> Result<Back, String> {
        // What the standby asks for, frozen or stopped, comes after the last cutover.
        std::thread::sleep(Duration::from_secs(3));
        self.command(&["rollout", "rollback", "--reason", "measured", "--by", "bench"])?;
        let status = self.until("the rollback is over", ROLLOUT_MAX, |status| {
            matches!(state(status), "rolled_back" | "needs_attention")
        })?;
        let record = &status["rollout"]["rollback"];
        if state(&status) != "rolled_back" {
            return Err(format!("the rollback was not validated: {record}"));
        }
        let at = |name: &str| record[name].as_u64().ok_or_else(|| format!("no {name} in {record}"));
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one rollback")]
        let after = |name: &str| Ok::<f64, String>((at(name)? - at("began")?) as f64 / 1000.0);
        Ok(Back {
            on_blue_s: after("shifted")?,
            validated_s: after("validated")?,
            memory_peak_mib: status["live"]["memory_peak_bytes"].as_u64().unwrap_or(0) >> 20,
        })
    }

    pub(crate) fn end(self) -> Result<(), String> {
        let Self { dir, serve, .. } = self;
        serve.end()?;
        fs::remove_dir_all(&dir).map_err(|error| error.to_string())
    }

    fn on(&self, status: &Value, side: &str) -> usize {
        status["agents"].as_array().map_or(0, |agents| agents.iter().filter(|agent| agent["serving"] == side).count())
    }

    fn until(&self, what: &str, within: Duration, holds: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.status()?;
            if holds(&status) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(format!("not within {} s: {what}; the rollout is {}", within.as_secs(), status["rollout"]));
            }
            std::thread::sleep(BEAT);
        }
    }

    fn status(&self) -> Result<Value, String> {
        let address = self.control.strip_prefix("http://").unwrap_or(&self.control);
        let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        write!(stream, "GET /v1/status HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")
            .map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("the control API gave no answer")?;
        serde_json::from_str(body).map_err(|error| error.to_string())
    }

    fn command(&self, arguments: &[&str]) -> Result<(), String> {
        let done = Command::new(BIN)
            .args(arguments)
            .env("BELLWETHER_CONTROL", &self.control)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    }
}

impl Process {
    fn start(arguments: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(BIN)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?;
        let out = child.stdout.take().ok_or("it has no output")?;
        Ok(Self { child, out: BufReader::new(out) })
    }

    fn says(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        while self.out.read_line(&mut line).map_err(|error| error.to_string())? > 0 {
            if let Ok(value) = serde_json::from_str(&line) {
                return Ok(value);
            }
            line.clear();
        }
        Err("it ended before it was ready".to_owned())
    }

    /// What a load says when it is told to stop.
    pub(crate) fn account(mut self) -> Result<Value, String> {
        self.terminate()?;
        let mut said = String::new();
        self.out.read_to_string(&mut said).map_err(|error| error.to_string())?;
        serde_json::from_str(&said).map_err(|error| format!("{error} in {said:?}"))
    }

    fn end(mut self) -> Result<(), String> {
        self.terminate()?;
        self.child.wait().map(drop).map_err(|error| error.to_string())
    }

    fn terminate(&self) -> Result<(), String> {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).ok_or("it has no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(|error| error.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to end.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn state(status: &Value) -> &str {
    status["rollout"]["state"].as_str().unwrap_or("")
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name} in {value}"))
}
