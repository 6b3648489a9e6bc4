//! What the controller asks of a driver and what a driver reports.
//!
//! Commands are idempotent: an instance number is used once, so a second `Start` of the same instance is
//! the first one again. A command of an older generation than the last seen for the instance is refused.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::{
    id::{AgentName, Generation, InstanceId, Side},
    time::Millis,
};

/// Name and version of the link between controller and driver host.
pub const PROTOCOL: (&str, u32) = ("bellwether-driver", 1);

/// How to start one instance. All variables are resolved; the process driver adds only `PATH`, `HOME`, `LANG` and a mark
/// of its own by which it finds what the instance leaves behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    pub agent: AgentName,
    pub side: Side,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// The address that the instance's own HTTP server should bind, also its name towards the gateway.
    pub address: Ipv4Addr,
    pub memory_limit_bytes: Option<u64>,
    pub cpu_limit: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverCommand {
    pub instance: InstanceId,
    /// Of the controller's last decision about this instance.
    pub generation: Generation,
    pub action: DriverAction,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum DriverAction {
    Start {
        launch: Box<Launch>,
    },
    /// Ask it to end (SIGTERM), and after `grace` make it end. The whole process group goes.
    Stop {
        grace: Millis,
    },
    /// No CPU from here on; memory stays.
    Freeze,
    Thaw,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum DriverRequest {
    Capabilities,
    Observe,
    Apply(DriverCommand),
}

/// A command was taken, or why not. That it has *happened* is an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum DriverAnswer {
    Capabilities(Capabilities),
    Observed {
        instances: Vec<Observed>,
    },
    Taken,
    /// A newer decision about this instance was seen.
    Stale {
        seen: Generation,
    },
    /// The instance is not known here, and the action needs one.
    Unknown,
    /// It could not be done; the text names the step and the operating system's reason.
    Failed {
        reason: String,
    },
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The kernel or the driver ended it for using more memory than its limit.
    pub out_of_memory: bool,
    /// It ended because of a `Stop`.
    pub asked: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum DriverEvent {
    Started {
        instance: InstanceId,
        pid: u32,
    },
    Exited {
        instance: InstanceId,
        exit: Exit,
    },
    Frozen {
        instance: InstanceId,
    },
    Thawed {
        instance: InstanceId,
    },
    /// Measured at a steady beat for all running instances together, so that sums are of one moment.
    Usage {
        sample: Vec<Usage>,
        host: HostUsage,
    },
}

/// What one instance uses, all of its processes together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub instance: InstanceId,
    /// Proportional set size.
    pub memory_bytes: u64,
    /// CPU time since the instance's start, in microseconds.
    pub cpu_micros: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostUsage {
    pub memory_total_bytes: u64,
    pub memory_available_bytes: u64,
    pub cpus: u32,
    /// Busy share of all CPUs since the last sample, 0 to 1.
    pub cpu_busy: f64,
}

/// One running instance, as the driver sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub instance: InstanceId,
    pub agent: AgentName,
    pub side: Side,
    pub generation: Generation,
    pub pid: u32,
    pub frozen: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    pub name: String,
    pub freeze: bool,
    /// How memory limits are enforced: `cgroup-v2`, `cgroup-v1` or `watch` (measured, then killed).
    pub memory_limit: String,
}
