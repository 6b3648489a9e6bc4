//! What the control API says, as values that its clients share.

use std::path::PathBuf;

use bellwether_core::{
    analysis::Judgement,
    diagnostic::Diagnostic,
    id::{AgentName, InstanceId, RolloutId, Side},
    plan::Plan,
    rollout::{ControllerView, Only, Preview, RolloutView, SeatView},
    time::{Millis, UnixMillis},
};
use serde::{Deserialize, Serialize};

use crate::edits::FleetEdit;

/// `GET /v1/status`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub fleet: String,
    #[serde(flatten)]
    pub controller: ControllerView,
    pub live: Live,
    /// Why nothing can be recorded: the disk is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// The fleet file is not what runs: it was edited, and the edit is not taken yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<FleetEdit>,
}

/// `POST /v1/backups`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupRequest {
    /// The folder that the backup becomes, as an absolute path on the controller's machine.
    pub to: PathBuf,
}

/// What was backed up, and to where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackedUp {
    pub to: PathBuf,
    pub manifest: bellwether_store::Manifest,
}

/// What the last seconds looked like, from the gateway's records.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Live {
    /// Seconds that the figures below cover.
    pub seconds: u64,
    pub blue: SideLive,
    pub green: SideLive,
    pub slots: u32,
    /// The most that were busy at once in the last second.
    pub slots_busy: u32,
    pub calls_waiting: u32,
    pub tasks_queued: u64,
    /// Of all instances together, proportional set size.
    pub memory_bytes: u64,
    pub memory_peak_bytes: u64,
    pub last_second: u64,
}

/// By the side that served.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SideLive {
    pub tasks_per_second: f64,
    pub failed: u64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
}

/// `GET /v1/instances`: one instance, as it shows itself. What the controller decides by is `is`; what it rests on is
/// beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceStatus {
    pub instance: InstanceId,
    pub agent: AgentName,
    pub side: Side,
    #[serde(flatten)]
    pub seat: SeatView,
    /// It has the agent's traffic.
    pub active: bool,
    /// The last answer of its health endpoint, where it has one and is asked: while a rollout is under way.
    pub health: Option<HealthStatus>,
    /// What the gateway knows of it; none while the gateway is away, or does not know it.
    pub seen: Option<SeenStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HealthStatus {
    pub at: UnixMillis,
    /// None: it is well.
    pub fault: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeenStatus {
    /// It has asked for a task.
    pub asked: bool,
    /// Requests, leases and model calls that it holds.
    pub held: u64,
    /// Heartbeats are no sign of health: they go on while everything else hangs. Nothing is decided by them.
    pub heartbeat_age_ms: Option<u64>,
    /// How long the agent's serving instance has shown no sign of its main loop, and how long a lease has gone
    /// without a sign of work; of the one that has the traffic. This is what the progress trigger goes by.
    pub quiet_ms: Option<u64>,
    pub stalled_ms: Option<u64>,
}

/// `POST /v1/rollouts` and `POST /v1/plans`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartRequest {
    /// The name of the release file, for messages.
    pub file: String,
    /// Its text.
    pub release: String,
    /// Bakes and validation are divided by this.
    #[serde(default = "one")]
    pub speed: f64,
    /// Measured for this long instead of what the fleet file says.
    #[serde(default)]
    pub baseline: Option<Millis>,
    /// Rehearse the rollback on the first batch, and change nothing for good.
    #[serde(default)]
    pub drill: bool,
    /// Also where the fleet file is not what runs.
    #[serde(default)]
    pub with_running_fleet: bool,
    /// Why freeze windows should not count for this rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_freeze: Option<String>,
    pub by: String,
    /// Say what would happen, and change nothing: the answer is a [`DryRun`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

fn one() -> f64 {
    1.0
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Started {
    pub rollout: RolloutId,
}

/// `POST /v1/rollouts/{id}/{verb}`. The header `If-Match` does the same as `expect`; with `Idempotency-Key` a request
/// can be repeated, and is done once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VerbRequest {
    pub by: String,
    #[serde(default)]
    pub reason: String,
    /// For a rollback of a part.
    #[serde(default)]
    pub only: Option<Only>,
    /// To resume or promote in a freeze window: why it cannot wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_freeze: Option<String>,
    /// The `position` of the rollout as whoever asks has seen it. If the verb means something else by now it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// Say what would happen, and change nothing: the answer is a [`DryRun`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// The answer to a request with `dry_run`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DryRun {
    #[serde(flatten)]
    pub preview: Preview,
    /// Where a rollout would be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Box<Plan>>,
    /// The plan for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_text: Option<String>,
}

/// `GET /v1/rollouts/{id}/report`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    #[serde(flatten)]
    pub rollout: RolloutView,
    /// R30 … R39.
    pub criteria: Vec<Judgement>,
    pub memory_peak_bytes: u64,
}

/// What a client may add to a report, because only it can know. Counts without the others are ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReportQuery {
    pub client_requests: Option<u64>,
    pub client_failed: Option<u64>,
    /// Requests that took longer than 150 % of the p95 that the client saw during the baseline.
    pub client_slower: Option<u64>,
    pub client_cut_streams: Option<u64>,
}

/// RFC 9457, with the diagnostics of a refused file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    pub title: String,
    pub status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<ProblemDiagnostic>,
}

/// A diagnostic as it travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProblemDiagnostic {
    pub code: String,
    pub message: String,
    /// As a terminal shows it, with place, cause and help.
    pub text: String,
}

impl From<&Diagnostic> for ProblemDiagnostic {
    fn from(diagnostic: &Diagnostic) -> Self {
        Self { code: diagnostic.code.to_owned(), message: diagnostic.message.clone(), text: diagnostic.to_string() }
    }
}
