//! A program that says in its first line where it serves, and ends when it is dropped.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::BIN;

pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    /// Kept open, so that it can always write.
    output: BufReader<ChildStdout>,
}

impl Server {
    /// A simulated Ollama with times of its own where `times` names any.
    pub(crate) fn simulated(models: &str, times: &Value) -> Result<Self, String> {
        Self::start(&["sim-ollama", "--models", models, "--params", "/dev/stdin"], &times.to_string())
    }

    /// `input` is what it reads from its standard input.
    pub(crate) fn start(arguments: &[&str], input: &str) -> Result<Self, String> {
        let mut child = Command::new(BIN)
            .args(arguments)
            .args(["--listen", "127.0.0.1:0", "--output", "json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let output = BufReader::new(stdout.ok_or("it has no output")?);
        let mut server = Self { child, url: String::new(), output };
        write!(stdin.ok_or("it has no input")?, "{input}").map_err(|error| error.to_string())?;
        let mut said = String::new();
        server.output.read_line(&mut said).map_err(|error| error.to_string())?;
        let said: Value =
            serde_json::from_str(&said).map_err(|error| format!("{arguments:?} said {said:?}: {error}"))?;
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
