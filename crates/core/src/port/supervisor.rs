//! What `bellwether upgrade` asks of the supervisor that runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{port::heir::TookOver, time::Millis};

/// Name and version of the link between a command and the supervisor.
pub const PROTOCOL: (&str, u32) = ("bellwether-supervisor", 1);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum SupervisorAsk {
    /// Let gateway and controller be this program from here on.
    Upgrade {
        program: PathBuf,
        /// What the gateway that goes may take to finish what it has in flight.
        finish_within: Millis,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum SupervisorAnswer {
    /// The whole of it.
    Upgraded { from: String, to: String, took_over: TookOver },
    /// Nothing was touched.
    Refused { refusal: Refusal },
    /// It was begun and came to an end that was not wanted; `standing` says what runs.
    Failed { step: Step, why: String, standing: String },
}

/// Why a program cannot take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// It cannot be run, or is no Bellwether.
    NotRun { why: String },
    /// It would not understand what is stored.
    Older { what: String, runs: i64, brings: i64 },
    /// It does not speak what the supervisor, which stays, or the gateway that runs speaks.
    Speaks { what: String, runs: u32, brings: u32 },
    /// An upgrade is under way.
    Busy,
}

/// Pushed as it happens, to whoever is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub step: Step,
    /// Since the step before.
    pub took: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The program runs and knows our formats.
    Checked,
    /// A controller of the new program answers.
    Controller,
    /// A gateway of the new program serves.
    Gateway,
}

/// What a program reads, writes and speaks: `bellwether internal formats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formats {
    pub version: String,
    /// Schemas of the stores.
    pub gateway_store: i64,
    pub journal: i64,
    /// Versions of the links.
    pub driver: u32,
    pub gateway: u32,
    pub heir: u32,
}
