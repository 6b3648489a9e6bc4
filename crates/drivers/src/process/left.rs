//! What runs of a state directory while no driver has it.

use std::{collections::BTreeMap, path::Path};

use bellwether_core::id::{AgentName, InstanceId};

use super::{OpenError, family, record::Records};
use crate::linux::proc;

/// A process that belongs to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub instance: InstanceId,
    /// None where no record names it.
    pub agent: Option<AgentName>,
    pub pid: u32,
}

/// One process of each instance that runs: its first where that lives, else one that carries its mark.
pub fn running(state: &Path) -> Result<Vec<Left>, OpenError> {
    let state = state.canonicalize().map_err(|source| OpenError::State { path: state.to_owned(), source })?;
    let mut left = BTreeMap::new();
    let directory = state.join("instances");
    if directory.exists() {
        let boot = proc::boot_id().map_err(OpenError::Proc)?;
        for (instance, record) in Records::open(directory)?.read_all()? {
            let pid = record.pid;
            // A process of another start time has only come by the number.
            let is_it =
                || proc::stat(pid).is_ok_and(|stat| stat.started_ticks == record.started_ticks && !stat.is_dead());
            let lives = record.ended.is_none() && record.boot == boot && is_it();
            if lives {
                left.insert(instance, Left { instance, agent: Some(record.agent), pid });
            }
        }
    }
    let owner = state.to_string_lossy();
    for stat in proc::all().map_err(OpenError::Proc)?.iter().filter(|stat| !stat.is_dead()) {
        if let Some(instance) = family::marked(stat.pid, &owner) {
            left.entry(instance).or_insert(Left { instance, agent: None, pid: stat.pid });
        }
    }
    Ok(left.into_values().collect())
}
