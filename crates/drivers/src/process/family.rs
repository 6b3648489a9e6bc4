//! Which processes belong to which instance: those of its group, their descendants that left the group, and
//! orphans that still carry its mark.

use std::collections::{BTreeMap, HashMap};

use bellwether_core::id::InstanceId;

use super::launch::MARK;
use crate::linux::proc::{self, Stat};

/// Living processes by instance. `leaders` maps the process number of each instance's first process.
pub(super) fn members(
    stats: &[Stat],
    leaders: &HashMap<u32, InstanceId>,
    owner: &str,
) -> BTreeMap<InstanceId, Vec<Stat>> {
    let by_pid: HashMap<u32, &Stat> = stats.iter().map(|stat| (stat.pid, stat)).collect();
    let me = std::process::id();
    let own_group = by_pid.get(&me).map(|stat| stat.group);
    let mut families = BTreeMap::<InstanceId, Vec<Stat>>::new();
    for stat in stats.iter().filter(|stat| !stat.is_dead()) {
        let orphan = stat.parent == me && Some(stat.group) != own_group;
        let instance = related(stat, &by_pid, leaders).or_else(|| if orphan { marked(stat.pid, owner) } else { None });
        if let Some(instance) = instance {
            families.entry(instance).or_default().push(*stat);
        }
    }
    families
}

/// The instance that this driver gave the process to at its birth.
pub(super) fn marked(pid: u32, owner: &str) -> Option<InstanceId> {
    let mark = proc::variable(pid, MARK)?;
    let (theirs, instance) = mark.rsplit_once('#')?;
    (theirs == owner).then(|| instance.parse().ok().map(InstanceId)).flatten()
}

fn related(stat: &Stat, by_pid: &HashMap<u32, &Stat>, leaders: &HashMap<u32, InstanceId>) -> Option<InstanceId> {
    /// Deeper than any sane tree; a walk over readings of different moments could else go in circles.
    const DEPTH_MAX: usize = 64;
    let mut at = stat;
    for _ in 0..DEPTH_MAX {
        if let Some(instance) = leaders.get(&at.group).or_else(|| leaders.get(&at.pid)) {
            return Some(*instance);
        }
        at = by_pid.get(&at.parent)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32, group: u32) -> Stat {
        Stat { pid, parent, group, state: b'S', cpu_ticks: 0, started_ticks: 1 }
    }

    #[test]
    fn a_child_that_left_the_group_still_counts() {
        let stats = [
            process(1, 0, 1),
            process(1000, 1, 1000),
            process(1001, 1000, 1000),
            process(1002, 1001, 1002),
            process(2000, 1, 2000),
        ];
        let families = members(&stats, &HashMap::from([(1000, InstanceId(7))]), "state");
        let pids: Vec<u32> = families[&InstanceId(7)].iter().map(|stat| stat.pid).collect();
        assert_eq!(pids, [1000, 1001, 1002]);
        assert_eq!(families.len(), 1);
    }
}
