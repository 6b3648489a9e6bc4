//! `bench model`, and what it counted.

use std::{process::Command, time::Duration};

use serde_json::Value;

use super::BIN;

/// A load of one or several addresses, which take turns.
#[derive(Clone)]
pub(crate) struct Load<'a> {
    pub(crate) clients: usize,
    /// With commas between them.
    pub(crate) models: &'a str,
    pub(crate) patience: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) span: Duration,
    pub(crate) seed: u64,
    /// What is said beside that.
    pub(crate) more: Vec<String>,
}

/// Of one address.
#[derive(Clone)]
pub(crate) struct Report(Value);

impl Load<'_> {
    /// In the order of the addresses.
    pub(crate) fn run(&self, urls: &[&str]) -> Result<Vec<Report>, String> {
        let millis = |span: Duration| format!("{}ms", span.as_millis());
        let done = Command::new(BIN)
            .args(["bench", "model", "--output", "json", "--models", self.models])
            .args(["--clients", &self.clients.to_string(), "--seed", &self.seed.to_string()])
            .args(["--patience", &millis(self.patience), "--for", &millis(self.span)])
            .args(["--warm-up", &millis(self.warm_up)])
            .args(&self.more)
            .args(urls)
            .output()
            .map_err(|error| error.to_string())?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).into_owned());
        }
        let report: Value = serde_json::from_slice(&done.stdout).map_err(|error| error.to_string())?;
        let endpoints = report["endpoints"].as_array().ok_or("it reports no address")?;
        Ok(endpoints.iter().map(|endpoint| Report(endpoint["figures"].clone())).collect())
    }
}

impl Report {
    /// By its path in the report, such as `/greedy/share`. None if there is no such figure, or nothing to take it of.
    pub(crate) fn figure(&self, path: &str) -> Option<f64> {
        self.0.pointer(path).and_then(Value::as_f64)
    }

    /// Calls that neither were answered nor ran out of patience: there is no cause for any.
    pub(crate) fn failed(&self) -> u64 {
        self.0["refused"].as_u64().unwrap_or(0) + self.0["failed"].as_u64().unwrap_or(0)
    }
}
