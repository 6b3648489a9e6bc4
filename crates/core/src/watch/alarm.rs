//! A trigger that fired, with the numbers it rests on. Journaled as it is, so that a replay never measures again.

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentName, AgentType},
    time::UnixMillis,
};

/// Why a rollout should not go on as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub kind: AlarmKind,
    /// Blue suffers as well, so that green is not what is at fault.
    pub shared: bool,
    /// When the clock of detection starts (R46): the first harmful outcome that reached the gateway, or the moment at
    /// which a gauge crossed its limit.
    pub harm_began: UnixMillis,
    /// Whom the evidence points at; empty where it points at nobody in particular.
    pub agents: Vec<AgentName>,
    pub types: Vec<AgentType>,
    /// One plain sentence with the numbers.
    pub why: String,
    pub figures: Vec<Figure>,
}

/// Serialised by these names; the fleet file's `triggers` section uses them as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// R40, of the fleet or of one instance and its own limit.
    Memory,
    /// R40.
    Cpu,
    /// R41, on evidence against blue.
    Errors,
    /// R41 and R91, without statistics: one agent failed so often in a row (ANALYSIS §3.4).
    FailureStreak,
    /// R31, on evidence against blue.
    Latency,
    /// R42.
    ModelServer,
    /// R43.
    BreakerTrips,
    /// R44.
    Health,
    /// R90.
    NoProgress,
}

impl AlarmKind {
    /// The row of the requirements that it answers.
    pub fn requirement(self) -> &'static str {
        match self {
            Self::Memory | Self::Cpu => "R40",
            Self::Errors | Self::FailureStreak => "R41",
            Self::Latency => "R31",
            Self::ModelServer => "R42",
            Self::BreakerTrips => "R43",
            Self::Health => "R44",
            Self::NoProgress => "R90",
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "CPU",
            Self::Errors => "errors",
            Self::FailureStreak => "failures in a row",
            Self::Latency => "latency",
            Self::ModelServer => "model server",
            Self::BreakerTrips => "breaker trips",
            Self::Health => "health checks",
            Self::NoProgress => "no progress",
        }
    }
}

/// One number that an alarm rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub limit: Option<f64>,
    /// As people write it: `%`, `MiB`, `s`, `calls`, `:1` for odds; empty for a plain count.
    pub unit: String,
}
