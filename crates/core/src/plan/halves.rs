//! A phase in two random halves per stratum (ANALYSIS §3.2), so that as long as the first half bakes, every kind of
//! agent has some of blue left to be compared with.
//!
//! The draw is a hash of release and name: random with regard to everything that could matter, and the same
//! whenever the plan is made again. Risk goes before chance: where critical agents come last, no draw moves one of
//! them before an agent that is not.

use std::collections::{BTreeMap, BTreeSet};

use crate::{id::RevisionName, spec::AgentSpec};

const DOMAIN: &str = "bellwether halves 1";

/// Splits what moves in a phase; each half keeps the order it is given in. One group where there is nothing to split.
pub(super) fn split<'s>(
    agents: Vec<&'s AgentSpec>,
    critical_last: bool,
    release: &RevisionName,
) -> Vec<Vec<&'s AgentSpec>> {
    let (others, critical): (Vec<&AgentSpec>, Vec<&AgentSpec>) =
        agents.iter().partition(|agent| !(critical_last && agent.critical));
    // The border between the halves lies in the larger band, so that neither half is next to nothing.
    let (first, second) = if others.len() >= critical.len() {
        let (first, mut second) = draw(others, release);
        second.extend(critical);
        (first, second)
    } else {
        let (drawn, second) = draw(critical, release);
        let mut first = others;
        first.extend(drawn);
        (first, second)
    };
    if first.is_empty() || second.is_empty() {
        return vec![agents];
    }
    vec![first, second]
}

/// Half of each stratum to either side; the odd one of a stratum goes where fewer are.
fn draw<'s>(agents: Vec<&'s AgentSpec>, release: &RevisionName) -> (Vec<&'s AgentSpec>, Vec<&'s AgentSpec>) {
    let mut strata: BTreeMap<_, Vec<&AgentSpec>> = BTreeMap::new();
    for &agent in &agents {
        strata.entry((&agent.agent_type, &agent.revision.model)).or_default().push(agent);
    }
    let mut strata: Vec<Vec<&AgentSpec>> = strata.into_values().collect();
    for stratum in &mut strata {
        stratum.sort_by_key(|agent| lot(release, agent));
    }
    // In random order too, or the odd ones of types early in the alphabet would always go first.
    strata.sort_by_key(|stratum| stratum.first().map(|agent| lot(release, agent)));
    let mut first = BTreeSet::new();
    let mut balance = 0_i64;
    for stratum in strata {
        let odd = stratum.len() % 2 == 1 && balance <= 0;
        let take = stratum.len() / 2 + usize::from(odd);
        if stratum.len() % 2 == 1 {
            balance += if odd { 1 } else { -1 };
        }
        first.extend(stratum.into_iter().take(take).map(|agent| &agent.name));
    }
    agents.into_iter().partition(|agent| first.contains(&agent.name))
}

fn lot(release: &RevisionName, agent: &AgentSpec) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [DOMAIN, release.as_str(), agent.name.as_str()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::{Sources, parse_fleet};

    fn agents(kinds: &[(u8, u8, bool)]) -> Vec<AgentSpec> {
        let row = |(i, (kind, model, critical)): (usize, &(u8, u8, bool))| {
            format!("    - {{name: a{i}, type: t{kind}, model: m{model}, critical: {critical}}}\n")
        };
        let list: String = kinds.iter().enumerate().map(row).collect();
        let text = format!("version: 1\nagents:\n  defaults: {{command: [a]}}\n  list:\n{list}");
        parse_fleet(&Sources { name: "fleet.yaml", text: &text, read: &|_| Err(String::new()) }).unwrap().agents
    }

    fn drawn(agents: &[AgentSpec], critical_last: bool, release: &str) -> Vec<Vec<String>> {
        let mut ordered: Vec<&AgentSpec> = agents.iter().collect();
        ordered.sort_by_key(|agent| critical_last && agent.critical);
        let groups = split(ordered, critical_last, &release.into());
        groups.iter().map(|group| group.iter().map(|agent| agent.name.to_string()).collect()).collect()
    }

    #[test]
    fn the_draw_is_the_same_each_time_and_another_for_another_release() {
        let agents = agents(&[(0, 0, false); 40]);
        assert_eq!(drawn(&agents, true, "v2"), drawn(&agents, true, "v2"));
        assert_ne!(drawn(&agents, true, "v2"), drawn(&agents, true, "v3"));
        assert_eq!(drawn(&agents, true, "v2").iter().map(Vec::len).collect::<Vec<_>>(), [20, 20]);
    }

    #[test]
    fn where_most_are_critical_they_are_what_is_halved() {
        let mut kinds = vec![(0, 0, false); 2];
        kinds.extend([(0, 0, true); 10]);
        let halves = drawn(&agents(&kinds), true, "v2");
        assert_eq!((halves[0].len(), halves[1].len()), (7, 5));
        assert_eq!(halves[0][..2], ["a0", "a1"]);
    }

    #[test]
    fn one_agent_is_not_halved() {
        assert_eq!(drawn(&agents(&[(0, 0, false)]), true, "v2").len(), 1);
    }

    proptest! {
        #[test]
        fn halves_take_everyone_once_split_each_stratum_and_keep_the_order_of_risk(
            kinds in prop::collection::vec((0u8..3, 0u8..2, any::<bool>()), 2..60),
            critical_last in any::<bool>(),
        ) {
            let agents = agents(&kinds);
            let halves = drawn(&agents, critical_last, "v2");
            prop_assert_eq!(halves.len(), 2);
            let of = |name: &String| agents.iter().find(|agent| agent.name.as_str() == name).unwrap();
            let all: Vec<&AgentSpec> = halves.iter().flatten().map(of).collect();
            let mut names: Vec<&str> = all.iter().map(|agent| agent.name.as_str()).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), agents.len());
            if critical_last {
                prop_assert!(all.iter().map(|agent| agent.critical).is_sorted());
            } else {
                prop_assert!(halves[0].len().abs_diff(halves[1].len()) <= 1);
                for kind in 0..3 {
                    for model in 0..2 {
                        let stratum = |half: &Vec<String>| half.iter().map(of).filter(|agent| {
                            agent.agent_type.as_str() == format!("t{kind}")
                                && agent.revision.model.as_str().starts_with(&format!("m{model}"))
                        }).count();
                        prop_assert!(stratum(&halves[0]).abs_diff(stratum(&halves[1])) <= 1);
                    }
                }
            }
        }
    }
}
