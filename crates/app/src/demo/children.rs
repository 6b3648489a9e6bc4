//! The processes that the demo starts. Each says where it listens in its first line; all end with the demo.

use std::{process::Stdio, time::Duration};

use bellwether_core::diagnostic::Diagnostic;
use rustix::process::Pid;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::memory::family;
use crate::failure::Failure;

pub(crate) struct Process {
    name: &'static str,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

const START_MAX: Duration = Duration::from_secs(20);
const END_MAX: Duration = Duration::from_secs(15);

impl Process {
    /// Starts this very binary with other arguments.
    pub(crate) fn start(name: &'static str, arguments: &[String]) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| failed(name, &error.to_string());
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        // A group of its own: Ctrl-C reaches the demo alone, which then ends its processes in order.
        command.process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let Some(stdout) = child.stdout.take() else { return Err(self::failed(name, "it has no output")) };
        Ok(Self { name, child, lines: BufReader::new(stdout).lines() })
    }

    /// The next line of its output that is a JSON object of the wanted form.
    pub(crate) async fn says<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let name = self.name;
        let said = async {
            while let Some(line) = self.lines.next_line().await.map_err(|error| failed(name, &error.to_string()))? {
                if let Ok(value) = serde_json::from_str(&line) {
                    return Ok(value);
                }
            }
            Err(failed(name, "it ended before it was ready; what it said is above"))
        };
        tokio::time::timeout(START_MAX, said).await.map_err(|_elapsed| failed(name, "it was not ready in 20 s"))?
    }

    /// Asks it to end and waits; after `grace` it is made to.
    pub(crate) async fn end(mut self, grace: Duration) -> Result<(), Failure> {
        let failed = |error: std::io::Error| failed(self.name, &error.to_string());
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            match rustix::process::kill_process(pid, rustix::process::Signal::TERM) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        match tokio::time::timeout(grace, self.child.wait()).await {
            Ok(ended) => ended.map(drop).map_err(failed),
            Err(_elapsed) => {
                eprintln!("{} did not end in {} s and is killed", self.name, grace.as_secs());
                self.child.kill().await.map_err(failed)
            }
        }
    }
}

/// In the order in which they were started; they end in the opposite one.
#[derive(Default)]
pub(super) struct Processes(Vec<Process>);

impl Processes {
    pub(super) fn start(&mut self, name: &'static str, arguments: &[String]) -> Result<&mut Process, Failure> {
        Ok(self.0.push_mut(Process::start(name, arguments)?))
    }

    /// One that all others depend on: it ends last.
    pub(super) fn start_below(&mut self, name: &'static str, arguments: &[String]) -> Result<&mut Process, Failure> {
        Ok(self.0.insert_mut(0, Process::start(name, arguments)?))
    }

    /// Ends one at once, as a crash would.
    pub(super) async fn kill(&mut self, name: &str) -> Result<(), Failure> {
        match self.0.iter().position(|process| process.name == name) {
            Some(at) => {
                let mut process = self.0.remove(at);
                process.child.kill().await.map_err(|error| failed(name, &error.to_string()))
            }
            None => Ok(()),
        }
    }

    /// Ends all, and makes sure of it: what descended from them and is still there is killed and reported.
    pub(super) async fn end(self) -> Result<(), Failure> {
        let mut result = Ok(());
        for process in self.0.into_iter().rev() {
            result = result.and(process.end(END_MAX).await);
        }
        for pid in family(std::process::id()).into_iter().filter(|&pid| pid != std::process::id()) {
            eprintln!("process {pid} was still there and is killed");
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw)
                && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            {
                eprintln!("it could not be killed: {error}");
            }
        }
        result
    }
}

fn failed(name: &str, why: &str) -> Failure {
    Failure::error(
        Diagnostic::new("BW0308", format!("{name} did not start or end as it should"))
            .because(why)
            .help("run the demo again with --keep and read the logs in its state directory"),
    )
}
