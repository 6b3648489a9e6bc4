//! What should run, validated. Every figure has its default filled in; units are in the types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{FreezeWindow, Ollama, Zone};
use crate::{
    id::{AgentName, AgentType, ModelName, PhaseName, RevisionId, RevisionName},
    time::Millis,
};

/// A validated fleet file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    pub fleet: String,
    pub host: Host,
    pub ollama: Ollama,
    pub driver: DriverKind,
    pub tasks: TaskPolicy,
    /// In the order of the file; names are unique.
    pub agents: Vec<AgentSpec>,
    pub rollout: RolloutPolicy,
}

impl Spec {
    pub fn agent(&self, name: &AgentName) -> Option<&AgentSpec> {
        self.agents.iter().find(|agent| &agent.name == name)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Declared memory; what is really there counts where it is less.
    pub memory_bytes: Option<u64>,
    pub reserve_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    Process,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskMode {
    /// Tasks come in at the gateway and wait there.
    Queue,
    /// Tasks come from the user's own backend, through the gateway, which fences them.
    Relay,
    None,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskPolicy {
    pub mode: TaskMode,
    /// `http://host:port` of the user's own backend; there with [`TaskMode::Relay`] and only then.
    pub backend: Option<String>,
    /// A lease ends after this long without completion or renewal.
    pub lease: Millis,
    /// A task is given up as failed after this many attempts, unless its submitter says otherwise.
    pub attempts_max: u32,
    /// How long a task that was reported as failed waits for its second attempt. Doubles with each attempt.
    pub backoff: Millis,
    pub backoff_max: Millis,
    /// The head start of each class of priority over the next one.
    pub ageing: Millis,
    /// A task drawn for one agent may be taken by another of its type after waiting this long.
    pub takeover: Millis,
    /// How long an agent's question for a task is held open while there is none, if it does not say so itself.
    pub hold: Millis,
    /// Results are kept this long after the end of the task.
    pub retention: Millis,
    /// What the tasks that have ended may take up, bodies and results together; beyond it the oldest go first.
    pub kept_bytes_max: u64,
    /// Tasks that may wait at once, and their bodies; beyond either a submitter gets 429.
    pub waiting_max: u64,
    pub waiting_bytes_max: u64,
}

impl Default for TaskPolicy {
    fn default() -> Self {
        Self {
            mode: TaskMode::Queue,
            backend: None,
            lease: Millis::from_mins(5),
            attempts_max: 3,
            backoff: Millis::from_secs(1),
            backoff_max: Millis::from_mins(1),
            ageing: Millis::from_mins(1),
            takeover: Millis::from_secs(30),
            // The synchronous base gives up a question after 10 s.
            hold: Millis::from_secs(8),
            retention: Millis::from_mins(60),
            kept_bytes_max: 1 << 30,
            waiting_max: 10_000,
            waiting_bytes_max: 1 << 30,
        }
    }
}

/// How tasks reach the instances of a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tasks", rename_all = "snake_case")]
pub enum Delivery {
    /// It asks for them.
    #[default]
    Pull,
    /// They are posted to its `execute`, so many at once. Such an instance serves HTTP.
    Push { places: u32 },
    /// Not at all.
    None,
}

/// What an instance of a revision that is rolled out has to show before it gets traffic, beside its health where it
/// serves HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// It answers a synthetic task with a result that carries what results must.
    Task {
        /// What the task holds beside its id.
        fields: BTreeMap<String, String>,
        /// From the time at which the instance could begin.
        within: Millis,
    },
    /// It asked for a task.
    Poll,
}

impl Default for Readiness {
    fn default() -> Self {
        let fields = BTreeMap::from([("prompt".to_owned(), "Reply with one word: ready".to_owned())]);
        Self::Task { fields, within: Millis::from_mins(10) }
    }
}

/// One agent as it should run now, on its blue side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    pub name: AgentName,
    pub agent_type: AgentType,
    /// The number of the phase in the file's column, used by `select: {phase: n}`.
    pub phase: Option<u32>,
    pub critical: bool,
    pub revision: Revision,
    /// How long what the retired instance holds may take to finish.
    pub drain: Millis,
    pub memory_limit_bytes: Option<u64>,
    pub cpu_limit: Option<f64>,
    /// What a completed task's result must carry, so that an empty answer is a failure (R91).
    pub result: ResultRule,
    pub standby: StandbyPolicy,
    pub ready: Readiness,
}

/// What a result has to carry to count as one. Without fields, anything that is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultRule {
    /// Nothing is an answer too: for agents whose work is what they do, not what they say.
    #[serde(default)]
    pub may_be_empty: bool,
    /// Each must be there and not be empty.
    pub fields: Vec<String>,
    /// Text found in the result, in characters, must be at least as long.
    pub chars_min: u32,
}

/// What becomes of a retired blue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StandbyPolicy {
    /// The plan chooses: the readiest that memory and CPU allow.
    #[default]
    Auto,
    Warm,
    Frozen,
    Stopped,
}

/// The resolved definition of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    pub name: RevisionName,
    /// Hash of everything below.
    pub id: RevisionId,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub model: ModelName,
    /// Whether the instance serves HTTP on the `PORT` it is given; then `GET /health` must answer 200
    /// before it is ready.
    pub http: bool,
    /// How long it may take to become ready.
    pub boot: Millis,
    #[serde(default)]
    pub delivery: Delivery,
}

/// A validated release file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub revision: RevisionName,
    pub command: Option<Vec<String>>,
    pub env: BTreeMap<String, String>,
    pub model: Option<ModelName>,
    pub http: Option<bool>,
    pub boot: Option<Millis>,
    #[serde(default)]
    pub delivery: Option<Delivery>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// Measured before anything is touched.
    pub baseline: Millis,
    /// In the order of the file (R96).
    pub phases: Vec<PhaseSpec>,
    /// Judged once more after the last phase (R65).
    pub validation: Millis,
    /// How long blue is held after completion.
    pub rollback_window: Millis,
    /// A bake may be extended to this multiple while a verdict is open.
    pub extension: f64,
    /// Agents of one batch: so many green instances boot at once.
    pub batch_max: u32,
    /// Unasked exits of one green instance within a phase that end the rollout (R99).
    pub crash_loop: u32,
    pub criteria: Criteria,
    pub triggers: Triggers,
    pub drill: DrillPolicy,
    /// R47: a plan from which the way back may take longer anywhere is refused.
    #[serde(default = "undo_max")]
    pub undo_max: Millis,
    #[serde(default)]
    pub timezone: Zone,
    /// In these no rollout begins or goes further.
    #[serde(default)]
    pub freeze: Vec<FreezeWindow>,
    /// From its start, within which a rollout must be done.
    #[serde(default)]
    pub window: Option<Millis>,
    #[serde(default)]
    pub at_end: AtEnd,
}

fn undo_max() -> Millis {
    Millis::from_secs(60)
}

/// What becomes of a rollout that is not done when its window closes (R20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtEnd {
    /// A person decides.
    #[default]
    Pause,
    Rollback,
}

/// Whether a rollout may start before its rollback was rehearsed (R51).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillPolicy {
    #[default]
    Optional,
    /// A drill of the same release must have succeeded in this state directory.
    Required,
}

/// What ends a rollout at once (R40 to R44, R90). `None` switches a trigger off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Triggers {
    /// R40: share of the memory that the fleet may use; of an instance's own limit as well.
    pub memory: Option<f64>,
    /// R40: share of all CPUs that the fleet's instances use, for as long as `cpu_for`.
    pub cpu: Option<f64>,
    pub cpu_for: Millis,
    /// R41: the error rate of a type at which harm is called severe. The evidence is the test against baseline.
    pub errors: Option<f64>,
    /// Ratio of latencies that the evidence must show to be exceeded.
    pub latency: Option<f64>,
    /// R42: share of connections to the model server that fail.
    pub model_failures: Option<f64>,
    /// R43: per minute.
    pub breaker_trips: Option<f64>,
    /// R44: this many in a row are still borne.
    pub health_failures: Option<u32>,
    pub progress: Progress,
    pub on_shared_fault: OnSharedFault,
    /// How much of the rollout a trigger undoes.
    pub scope: Scope,
}

impl Default for Triggers {
    /// The seed's figures (R40 to R44).
    fn default() -> Self {
        Self {
            memory: Some(0.9),
            cpu: Some(0.9),
            cpu_for: Millis::from_secs(60),
            errors: Some(0.05),
            latency: Some(1.5),
            model_failures: Some(0.1),
            breaker_trips: Some(3.0),
            health_failures: Some(2),
            progress: Progress::Auto,
            on_shared_fault: OnSharedFault::Rollback,
            scope: Scope::Rollout,
        }
    }
}

/// How long an agent may go without a sign of work (R90).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    Off,
    /// From the longest pauses that the baseline shows.
    Auto,
    After(Millis),
}

/// What is done when blue suffers as green does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnSharedFault {
    Rollback,
    /// Pause: going back would not mend it.
    Hold,
}

/// How much a rollback takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Agent,
    Type,
    Phase,
    Rollout,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseSpec {
    pub name: PhaseName,
    /// Resolved and ordered: by risk, and by model within a risk band; critical agents last where asked.
    pub agents: Vec<AgentName>,
    pub bake: Millis,
    pub gate: GatePolicy,
    /// It moves in two random halves, so that the first has a blue beside it to be compared with.
    #[serde(default)]
    pub halves: bool,
    /// Critical agents move after all others of the phase.
    #[serde(default)]
    pub critical_last: bool,
    #[serde(default)]
    pub approval: Approval,
}

/// Whether a person must agree before the first agent of a phase is touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Approval {
    #[default]
    None,
    /// Anybody, also who started the rollout.
    Required,
    /// Anybody but who started the rollout.
    Other,
}

impl Approval {
    pub fn is_asked(self) -> bool {
        match self {
            Self::Required | Self::Other => true,
            Self::None => false,
        }
    }
}

/// How a gate treats what the criteria say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatePolicy {
    pub require: Require,
    pub thin_evidence: ThinEvidence,
    /// The smallest rise of the error rate that a guard must have been able to catch, in points (0.05 = 5 points).
    pub tolerated_error_rise: f64,
    /// The smallest ratio of latencies that a guard must have been able to catch.
    pub tolerated_latency_ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Passes when no harm was seen that is large enough to matter, and it would have been seen.
    Guard,
    /// Passes only when the absence of harm beyond the margin is proved.
    Proof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThinEvidence {
    /// Declared before, shown in plan and report: the phase goes on without a verdict.
    Accept,
    /// A person is asked: the rollout pauses.
    Ask,
}

/// The limits of R30–R39, against baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Criteria {
    /// R30: completed tasks per second, share of baseline.
    pub task_rate_min: f64,
    /// R31: p95 of response time, share of baseline.
    pub latency_p95_max: f64,
    /// R12: median of response time, share of baseline.
    pub latency_p50_max: f64,
    /// R32: rise of the error rate (0.001 = 0.1 percentage points).
    pub error_rise_max: f64,
    /// R33: memory per agent, share of baseline.
    pub memory_max: f64,
    /// R33: a rise below this counts as none.
    pub memory_floor_bytes: u64,
    /// R34: CPU, share of baseline.
    pub cpu_max: f64,
    /// R34: a rise below this share of a core per agent counts as none.
    pub cpu_floor_cores: f64,
    /// R35: model calls that succeed.
    pub model_success_min: f64,
    /// R36: share of time in which every agent had a ready instance.
    pub availability_min: f64,
    /// R37: submitted tasks that complete.
    pub completion_min: f64,
}

impl Default for Criteria {
    /// The seed's figures (R30–R39).
    fn default() -> Self {
        Self {
            task_rate_min: 0.95,
            latency_p95_max: 1.5,
            latency_p50_max: 2.0,
            error_rise_max: 0.001,
            memory_max: 1.2,
            memory_floor_bytes: 16 << 20,
            cpu_max: 1.1,
            cpu_floor_cores: 0.005,
            model_success_min: 0.99,
            availability_min: 1.0,
            completion_min: 0.995,
        }
    }
}
