//! One load, by turns straight and through the gateway.

use std::process::Command;

use serde::Serialize;
use serde_json::Value;

use crate::engine::{BIN, Engine};

const PATIENCE: &str = "10s";
/// Long enough for those who give up to have their share.
const WARM_UP: &str = "10s";

pub(crate) struct Load {
    pub(crate) clients: u32,
    pub(crate) models: Vec<String>,
}

impl Load {
    pub(crate) fn name(&self) -> String {
        let models = if self.models.len() == 1 { "model" } else { "models" };
        format!("{} clients, {} {models}", self.clients, self.models.len())
    }
}

/// What `bench model` counted.
#[derive(Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) answers_per_second: f64,
    pub(crate) success: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) given_up: u64,
    /// Refused or failed.
    pub(crate) failed: u64,
    /// None where the server does not tell.
    pub(crate) switches: Option<u64>,
    pub(crate) causes: Value,
}

/// Straight, then through the gateway.
pub(crate) fn run(engine: &Engine, load: &Load, seconds: u32, rounds: u32) -> Result<[Figures; 2], String> {
    let done = Command::new(BIN)
        .args(["bench", "model", "--api", engine.api, "--models", &load.models.join(",")])
        .args(["--clients", &load.clients.to_string(), "--patience", PATIENCE, "--warm-up", WARM_UP])
        .args(["--for", &format!("{seconds}s"), "--rounds", &rounds.to_string(), "--name-clients"])
        .args(["--output", "json", &engine.straight, &engine.gateway])
        .output()
        .map_err(|error| error.to_string())?;
    if !done.status.success() {
        return Err(format!("{}, {}: {}", engine.name, load.name(), String::from_utf8_lossy(&done.stderr)));
    }
    let report: Value = serde_json::from_slice(&done.stdout).map_err(|error| error.to_string())?;
    let of = |at: usize| figures(&report["endpoints"][at]["figures"]).ok_or("the report lacks a figure");
    Ok([of(0)?, of(1)?])
}

fn figures(said: &Value) -> Option<Figures> {
    Some(Figures {
        answers_per_second: said["answers_per_second"].as_f64()?,
        success: said["success"].as_f64(),
        p95_ms: said["p95_ms"].as_f64(),
        given_up: said["given_up"].as_u64()?,
        failed: said["refused"].as_u64()? + said["failed"].as_u64()?,
        switches: said["switches"].as_u64(),
        causes: said["causes"].clone(),
    })
}
