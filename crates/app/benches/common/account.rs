//! What `bellwether load` counted, as it says it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Account {
    /// What the ids of the tasks begin with; a number from 0 follows.
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) requests: Requests,
    pub(crate) tasks: Tasks,
    /// Tasks by the attempt of their accepted completion.
    pub(crate) attempts: BTreeMap<u32, u64>,
    /// Submissions that failed for good, by cause.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Answers that were lost, by cause.
    pub(crate) unanswered: BTreeMap<String, u64>,
    pub(crate) lost_ids: Vec<String>,
    pub(crate) windows: Vec<Window>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Requests {
    pub(crate) total: u64,
    pub(crate) failed: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Tasks {
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) requests: Requests,
    pub(crate) unanswered: u64,
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}
