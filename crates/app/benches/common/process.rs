//! A program of the run: it says in its first line where it is, and is ended when it is dropped.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const END_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// What it tells people goes to `log`.
    pub(crate) fn start(program: &Path, arguments: &[&str], log: &Path) -> Result<Self, String> {
        let log = File::create(log).map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let output = child.stdout.take().ok_or("it has no output")?;
        Ok(Self { input: child.stdin.take(), child, output: BufReader::new(output) })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn says(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).map_err(|error| error.to_string())? > 0 {
            if let Ok(value) = serde_json::from_str(&line) {
                return Ok(value);
            }
            line.clear();
        }
        Err("it ended before it was ready".to_owned())
    }

    pub(crate) fn tell(&mut self, line: &str) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("its input is closed")?;
        writeln!(input, "{line}").map_err(|error| error.to_string())
    }

    /// Closes its input and reads to the end of its output.
    pub(crate) fn last_words(mut self) -> Result<String, String> {
        drop(self.input.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said).map_err(|error| error.to_string())?;
        Ok(said)
    }

    /// Ends it as a user would, so that it can end what it has started.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or("it has no pid")?;
        kill_process(pid, Signal::TERM).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + END_MAX;
        while self.child.try_wait().map_err(|error| error.to_string())?.is_none() {
            if Instant::now() > deadline {
                return Err(format!("process {} does not end", self.child.id()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) && self.end().is_err() {
            // Whatever is wrong with it, nothing of the run may stay.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
