//! Who is in the fleet, who was last seen on which side, and whether both sides suffer alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::{AgentName, AgentType, ModelName, Side},
    watch::digest::{Both, Digest},
};

/// Records from an agent's first on green in which it is still warming up: its silence and its response times say
/// nothing yet.
const WARM_UP: u64 = 3;
/// An agent that blue has served for so many records longer than green is back on blue.
const BACK_AFTER: u64 = 10;

#[derive(Debug)]
pub(super) struct Roster {
    members: BTreeMap<AgentName, Member>,
}

#[derive(Debug)]
struct Member {
    agent_type: AgentType,
    model: ModelName,
    green_since: Option<u64>,
    /// Numbers of the last records that showed it.
    seen: Both<Option<u64>>,
}

impl Roster {
    pub(super) fn new(agents: &[(AgentName, AgentType, ModelName)]) -> Self {
        let member = |agent_type: &AgentType, model: &ModelName| Member {
            agent_type: agent_type.clone(),
            model: model.clone(),
            green_since: None,
            seen: Both::default(),
        };
        Self { members: agents.iter().map(|(agent, kind, model)| (agent.clone(), member(kind, model))).collect() }
    }

    pub(super) fn note(&mut self, digest: &Digest) {
        for side in [Side::Blue, Side::Green] {
            for (agent, _) in digest.of(side) {
                if let Some(member) = self.members.get_mut(agent) {
                    *member.seen.of_mut(side) = Some(digest.number);
                    if side == Side::Green {
                        member.green_since.get_or_insert(digest.number);
                    }
                }
            }
        }
    }

    pub(super) fn knows(&self, agent: &AgentName) -> bool {
        self.members.contains_key(agent)
    }

    pub(super) fn type_of(&self, agent: &AgentName) -> Option<&AgentType> {
        self.members.get(agent).map(|member| &member.agent_type)
    }

    pub(super) fn models(&self) -> impl Iterator<Item = (&AgentName, &ModelName)> {
        self.members.iter().map(|(agent, member)| (agent, &member.model))
    }

    pub(super) fn types_of(&self, agents: &BTreeSet<AgentName>) -> Vec<AgentType> {
        let types: BTreeSet<&AgentType> = agents.iter().filter_map(|agent| self.type_of(agent)).collect();
        types.into_iter().cloned().collect()
    }

    pub(super) fn of_types(&self, types: &[AgentType]) -> BTreeSet<AgentName> {
        let of_types = self.members.iter().filter(|(_, member)| types.contains(&member.agent_type));
        of_types.map(|(agent, _)| agent.clone()).collect()
    }

    pub(super) fn warming(&self, agent: &AgentName, number: u64) -> bool {
        let since = self.members.get(agent).and_then(|member| member.green_since);
        since.is_some_and(|since| number.saturating_sub(since) < WARM_UP)
    }

    pub(super) fn back_on_blue(&self, agent: &AgentName) -> bool {
        self.members.get(agent).is_some_and(|member| match (member.seen.blue, member.seen.green) {
            (Some(blue), Some(green)) => blue > green.saturating_add(BACK_AFTER),
            (_, None) | (None, Some(_)) => false,
        })
    }

    /// Agents seen on `side` in the `span` records up to `number`.
    pub(super) fn at_work(&self, side: Side, number: u64, span: u64) -> u64 {
        let recent = |member: &&Member| member.seen.of(side).is_some_and(|seen| number.saturating_sub(seen) < span);
        self.members.values().filter(recent).count() as u64
    }
}

/// Whether blue suffers as green does: what is hit on blue, per one that could be, is at least half of it on green.
/// A single blue among a hundred that fails does not excuse a green that does.
pub(super) fn alike(green: (u64, u64), blue: (u64, u64)) -> bool {
    let (green_hit, green_of) = (u128::from(green.0), u128::from(green.1.max(1)));
    let (blue_hit, blue_of) = (u128::from(blue.0), u128::from(blue.1.max(1)));
    blue_hit > 0 && blue_hit.saturating_mul(green_of).saturating_mul(2) >= green_hit.saturating_mul(blue_of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests::{cell, roster, second};

    #[test]
    fn one_of_many_blues_does_not_excuse_green() {
        assert!(!alike((1, 13), (1, 118)));
        assert!(!alike((3, 13), (0, 118)));
        assert!(alike((2, 2), (1, 2)));
        assert!(alike((u64::MAX, u64::MAX), (u64::MAX, u64::MAX)));
    }

    #[test]
    fn an_agent_warms_up_once_and_can_go_back() {
        let mut roster = roster(3);
        let mut note = |number, side| {
            let digest = Digest::new(&second(number, vec![cell("a1", side, 1, 0)]), &roster);
            roster.note(&digest);
            (roster.warming(&"a1".into(), number), roster.back_on_blue(&"a1".into()))
        };
        assert_eq!(note(1, Side::Blue), (false, false));
        assert_eq!(
            [note(5, Side::Green), note(7, Side::Green), note(8, Side::Green)].map(|n| n.0),
            [true, true, false]
        );
        assert_eq!(note(18, Side::Blue), (false, false), "what blue still holds after a cutover is no way back");
        assert_eq!(note(19, Side::Blue), (false, true));
        assert_eq!((roster.at_work(Side::Green, 19, 12), roster.at_work(Side::Green, 20, 12)), (1, 0));
    }
}
