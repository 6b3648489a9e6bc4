//! One load of one simulated server.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::reference::{Figure, Row};

const BIN: &str = env!("CARGO_BIN_EXE_bellwether");
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What `bench model` counted.
pub(crate) struct Run(Value);

pub(crate) fn run(row: &Row, seed: u64, seconds: u64) -> Result<Run, String> {
    let models = NAMES.get(..row.models).ok_or("more models than names")?.join(",");
    let server = Server::start(&models, seed)?;
    let mut load = Command::new(BIN);
    load.args(["bench", "model", "--clients", &row.clients.to_string(), "--models", &models])
        .args(["--patience", &format!("{}s", row.patience_s), "--for", &format!("{seconds}s")])
        // The real one was measured from the first question on; see docs/sim-ollama.md.
        .args(["--warm-up", "0s", "--seed", &seed.to_string(), "--output", "json"]);
    if row.greedy > 0 {
        load.args(["--greedy", &row.greedy.to_string()]);
    }
    let done = load.arg(&server.url).output().map_err(|error| error.to_string())?;
    if !done.status.success() {
        return Err(format!("{}: {}", row.load, String::from_utf8_lossy(&done.stderr)));
    }
    let report: Value = serde_json::from_slice(&done.stdout).map_err(|error| error.to_string())?;
    Ok(Run(report["endpoints"][0]["figures"].clone()))
}

impl Run {
    pub(crate) fn figure(&self, figure: Figure) -> Option<f64> {
        let figures = &self.0;
        match figure {
            Figure::Success => figures["success"].as_f64(),
            Figure::AnswersPerSecond => figures["answers_per_second"].as_f64(),
            Figure::P95Seconds => figures["p95_ms"].as_f64().map(|ms| ms / 1e3),
            Figure::GreedyShare => figures["greedy"]["share"].as_f64(),
            Figure::GreedyTimes => figures["greedy"]["times"].as_f64(),
        }
    }

    /// Processor time of the clients per second.
    pub(crate) fn client_cores(&self) -> f64 {
        self.0["client_cores"].as_f64().unwrap_or(0.0)
    }

    /// Calls that neither were answered nor ran out of patience: there is no cause for any.
    pub(crate) fn failed(&self) -> u64 {
        self.0["refused"].as_u64().unwrap_or(0) + self.0["failed"].as_u64().unwrap_or(0)
    }
}

/// Ends when it is dropped.
struct Server {
    child: Child,
    url: String,
    /// Kept open, so that it can always write.
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// With the frozen times, and chance of its own.
    fn start(models: &str, seed: u64) -> Result<Self, String> {
        let mut child = Command::new(BIN)
            .args(["sim-ollama", "--listen", "127.0.0.1:0", "--models", models, "--output", "json"])
            .args(["--params", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut output = BufReader::new(output.ok_or("it has no output")?);
        write!(input.ok_or("it has no input")?, "{}", json!({"seed": seed})).map_err(|error| error.to_string())?;
        let mut said = String::new();
        output.read_line(&mut said).map_err(|error| error.to_string())?;
        let mut server = Self { child, url: String::new(), _output: output };
        let said: Value = serde_json::from_str(&said).map_err(|error| format!("sim-ollama said {said:?}: {error}"))?;
        server.url = said["url"].as_str().ok_or("it says no address")?.to_owned();
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may be gone; then there is nobody to tell.
            kill_process(pid, Signal::TERM).ok();
        }
        self.child.wait().ok();
    }
}
