//! Watches what runs while a rollout is under way, and raises alarms: the triggers R40 to R44, R90 and R91.
//!
//! Fed with one-second records, usage beats and health checks; holds no clock. Fed again with the same records
//! it raises the same alarms, so a controller that was away catches up from the gateway's spool.

mod alarm;
mod blue;
mod common_errors;
mod cpu;
mod digest;
mod evidence;
#[cfg(test)]
mod fleet_tests;
mod health;
mod latch;
mod memory;
mod model_server;
mod progress;
mod reach;
mod recent;
mod roster;
mod streak;
#[cfg(test)]
mod tests;
mod trips;
mod words;

use std::collections::BTreeMap;

pub use alarm::{Alarm, AlarmKind, Figure};
pub use reach::{FaultClass, Reach, Traffic, reach};

use self::{
    blue::BlueAlone, common_errors::CommonErrors, cpu::Cpu, digest::Digest, evidence::Evidence, health::Health,
    memory::Memory, model_server::ModelServer, progress::Progress, roster::Roster, streak::Streaks, trips::Trips,
};
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

/// The running state of all triggers. Memory grows with the fleet, never with time.
pub struct Watch {
    roster: Roster,
    last_second: Option<u64>,
    memory: Memory,
    cpu: Cpu,
    model_server: ModelServer,
    health: Health,
    streaks: Streaks,
    progress: Progress,
    trips: Trips,
    evidence: Evidence,
    common_errors: CommonErrors,
    blue: BlueAlone,
}

impl Watch {
    pub fn new(setup: &WatchSetup<'_>) -> Self {
        let roster = Roster::new(&setup.agents);
        Self {
            last_second: None,
            memory: Memory::new(setup),
            cpu: Cpu::new(setup),
            model_server: ModelServer::new(setup),
            health: Health::new(setup),
            streaks: Streaks::new(setup),
            progress: Progress::new(setup, &roster),
            trips: Trips::new(setup),
            evidence: Evidence::new(setup),
            common_errors: CommonErrors::new(setup),
            blue: BlueAlone::new(setup),
            roster,
        }
    }

    /// Takes a closed second; records up to the last number seen are ignored. `phase` is the phase that the rollout
    /// was in. What is most likely the cause comes first: a model server that is gone makes tasks fail as well.
    pub fn second(&mut self, second: &Second, phase: usize) -> Vec<Alarm> {
        if self.last_second.is_some_and(|last| second.number <= last) {
            return Vec::new();
        }
        self.last_second = Some(second.number);
        let digest = Digest::new(second, &self.roster);
        self.roster.note(&digest);
        self.blue.second(&digest);
        let roster = &self.roster;
        let model_server = self.model_server.second(&digest, roster);
        let progress = self.progress.second(&digest, roster);
        let streak = self.streaks.second(&digest, self.evidence.streak_max(), roster);
        let evidence = self.evidence.second(second, &digest, phase, roster);
        let common = self.common_errors.second(&digest, self.evidence.sees_errors());
        let trips = self.trips.second(&digest, roster);
        [model_server, progress, streak, evidence, common, trips].into_iter().flatten().collect()
    }

    /// Takes a beat; about one a second.
    pub fn usage(&mut self, beat: &UsageBeat) -> Vec<Alarm> {
        let mut alarms = self.memory.beat(beat, &self.roster);
        alarms.extend(self.cpu.beat(beat));
        alarms
    }

    pub fn health(&mut self, check: &HealthCheck) -> Option<Alarm> {
        self.health.check(check, &self.roster)
    }

    /// Whether what a rollback went back to works: what still stands against it, if anything does. Needs two records
    /// in which green did nothing any more; no traffic.
    pub fn fault_of_blue(&self) -> Option<String> {
        let mut faults: Vec<String> = self.health.fault_of_blue(self.blue.now()).into_iter().collect();
        faults.extend(self.memory.standing());
        faults.extend(self.blue.faults());
        (!faults.is_empty()).then(|| faults.join("; "))
    }
}
