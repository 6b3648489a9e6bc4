//! llama.cpp with tiny models, in a process of its own.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/engine/llama_switch.py");

/// Ends when it is dropped.
pub(crate) struct Llama {
    pub(crate) url: String,
    child: Child,
    /// Kept open, so that it can always write.
    output: BufReader<ChildStdout>,
}

impl Llama {
    pub(crate) fn start(python: &Path, flags: &[&str]) -> Result<Self, String> {
        let mut child = Command::new(python)
            // What it imports is beside it, and nothing is to be left there.
            .args(["-B", SCRIPT])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // The log of llama.cpp, many lines for each model that it loads.
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", python.display()))?;
        let output = BufReader::new(child.stdout.take().ok_or("it has no output")?);
        let mut llama = Self { url: String::new(), child, output };
        let mut said = String::new();
        llama.output.read_line(&mut said).map_err(|error| error.to_string())?;
        let said: Value = serde_json::from_str(&said).map_err(|error| format!("llama.cpp said {said:?}: {error}"))?;
        llama.url = said["url"].as_str().ok_or("it says no address")?.to_owned();
        Ok(llama)
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may be gone; then there is nobody to tell.
            kill_process(pid, Signal::TERM).ok();
        }
        self.child.wait().ok();
    }
}
