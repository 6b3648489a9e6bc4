//! Everything that a page says, as values: gathered by the shell, put into words by `page`.

use std::collections::BTreeMap;

use bellwether_core::{
    id::{AgentName, InstanceId, Side},
    observation::Second,
    rollout::{AgentView, Event, RollbackRecord, Rollout},
    time::UnixMillis,
};

use super::blame::Blame;
use crate::usage::Beat;

pub(super) struct Facts {
    pub(super) fleet: String,
    pub(super) rollout: Rollout,
    /// Which part was taken back; none for the whole rollout.
    pub(super) retreat: Option<usize>,
    pub(super) record: RollbackRecord,
    pub(super) written: UnixMillis,
    pub(super) agents: Vec<AgentView>,
    /// The last minutes, in the order of their numbers.
    pub(super) seconds: Vec<Second>,
    pub(super) beats: Vec<(UnixMillis, Beat)>,
    pub(super) blame: Blame,
    pub(super) slice: Slice,
    pub(super) roster: Roster,
    pub(super) tails: Vec<Tail>,
    pub(super) missing: Vec<Missing>,
}

/// The journal since the phase began.
#[derive(Default)]
pub(super) struct Slice {
    pub(super) from: UnixMillis,
    pub(super) entries: Vec<Entry>,
    /// Older entries of the same time that there was no room for.
    pub(super) left_out: usize,
}

pub(super) struct Entry {
    pub(super) seq: i64,
    pub(super) at: UnixMillis,
    pub(super) event: Event,
}

/// Who each instance is or was: a number alone says nothing to a person.
pub(super) type Roster = BTreeMap<InstanceId, Member>;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub(super) agent: AgentName,
    pub(super) side: Side,
    pub(super) enrolled: UnixMillis,
}

/// The end of one instance's log.
pub(super) struct Tail {
    pub(super) instance: InstanceId,
    pub(super) member: Member,
    pub(super) bytes: Vec<u8>,
    /// What came before it in the log, in bytes.
    pub(super) left_out: u64,
}

impl Tail {
    /// In the folder.
    pub(super) fn file_name(&self) -> String {
        format!("{}-{}-{}.log", plain(self.member.agent.as_str()), self.member.side, self.instance)
    }
}

/// A name as it can stand in a file name; the driver writes them so as well.
pub(super) fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    name.chars().map(plain).collect()
}

/// A part that could not be had.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Missing {
    pub(super) what: String,
    pub(super) why: String,
}

impl Facts {
    pub(super) fn is_green(&self, agent: &AgentView) -> bool {
        agent.serving == Some(Side::Green)
    }

    /// The agents that have to be on blue again.
    pub(super) fn concerned(&self) -> Vec<&AgentView> {
        let taken_back = self.retreat.and_then(|retreat| self.rollout.retreats.get(retreat)).map(|part| &part.agents);
        let planned: std::collections::BTreeSet<&AgentName> = match taken_back {
            Some(agents) => agents.iter().collect(),
            None => self.rollout.plan.agents().map(|planned| &planned.agent).collect(),
        };
        self.agents.iter().filter(|agent| planned.contains(&agent.name)).collect()
    }

    /// Of those, the ones that no ready blue serves.
    pub(super) fn not_on_blue(&self) -> Vec<&AgentView> {
        let back = |agent: &AgentView| agent.serving == Some(Side::Blue) && agent.blue.is.ready().is_some();
        self.concerned().into_iter().filter(|agent| !back(agent)).collect()
    }
}
