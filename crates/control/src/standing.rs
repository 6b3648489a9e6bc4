//! What a state directory holds, for whoever has to know before a controller runs on it.

use std::{collections::BTreeMap, path::Path};

use bellwether_core::id::{AgentName, AgentType, RevisionId, RolloutId};

use crate::{
    error::Error,
    journal::{Journal, Memory},
    run::replay,
};

/// How a controller would find itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The rollout that is not over, and how it stands.
    pub under_way: Option<(RolloutId, &'static str)>,
    pub agents: BTreeMap<AgentName, (AgentType, RevisionId)>,
}

/// Replays the journal and changes nothing. None where no fleet was declared yet. Nobody may be writing to it.
pub fn standing(state: &Path) -> Result<Option<Standing>, Error> {
    let path = state.join("journal.sqlite");
    if !path.exists() {
        return Ok(None);
    }
    let (_, Memory { machine, .. }) = replay(&Journal::reader(&path)?, &path)?;
    if !machine.is_declared() {
        return Ok(None);
    }
    let under_way = machine.rollout().filter(|rollout| !rollout.state.is_over());
    let agents = machine.agents_with_types().filter_map(|(name, agent_type)| {
        let revision = machine.blue_revision(name)?;
        Some((name.clone(), (agent_type.clone(), revision.clone())))
    });
    Ok(Some(Standing {
        under_way: under_way.map(|rollout| (rollout.id, rollout.state.name())),
        agents: agents.collect(),
    }))
}

#[cfg(test)]
mod tests {
    use bellwether_core::{rollout::Event, time::Now};

    use super::*;
    use crate::{run::declared, samples};

    #[test]
    fn it_tells_of_a_rollout_that_is_not_over_and_leaves_the_journal_as_it_is() {
        let state = std::env::temp_dir().join(format!("bw-standing-{}", std::process::id()));
        std::fs::create_dir_all(&state).unwrap();
        assert_eq!(standing(&state).unwrap(), None);
        let path = state.join("journal.sqlite");
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(standing(&state).unwrap(), None, "nothing was declared");
        let agents = declared(&samples::fleet());
        let last = journal.append(0, &[(Now::default(), Event::FleetDeclared { agents })]).unwrap();
        let idle = standing(&state).unwrap().unwrap();
        assert_eq!((idle.under_way, idle.agents.len()), (None, samples::fleet().agents.len()));
        let plan = Box::new(samples::plan("v2"));
        journal.append(last, &[(Now::default(), Event::start(*plan, "ann"))]).unwrap();
        drop(journal);
        let before = std::fs::read(&path).unwrap();
        assert_eq!(standing(&state).unwrap().unwrap().under_way, Some((RolloutId(1), "in preflight")));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::remove_dir_all(&state).unwrap();
    }
}
