//! What each agent did before anything was touched: blue's part of the baseline.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::{Baseline, Tally};
use crate::id::AgentName;

/// The window keeps its agents to itself, so they are read from the form in which it is journaled.
#[derive(Deserialize)]
struct Journaled {
    agents: BTreeMap<AgentName, Blue>,
}

#[derive(Deserialize)]
struct Blue {
    blue: Tally,
}

/// Blue's outcomes in the baseline, agent by agent.
pub(super) fn tallies(baseline: &Baseline) -> BTreeMap<AgentName, Tally> {
    let journaled: Result<Journaled, _> = serde_json::to_value(baseline).and_then(serde_json::from_value);
    // An agent without a past is judged by its model's and its type's, so none at all is safe.
    journaled
        .map_or_else(|_| BTreeMap::new(), |past| past.agents.into_iter().map(|(name, of)| (name, of.blue)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        analysis::tests::{cell, window},
        id::Side,
        time::Millis,
    };

    #[test]
    fn each_agent_has_its_own_past() {
        let cells = [cell("a1", Side::Blue, 30, 2, 60_000), cell("a2", Side::Blue, 7, 0, 90_000)];
        let past = tallies(&Baseline::new(window(&cells), Millis::ZERO).unwrap());
        assert_eq!(past.len(), 2);
        assert_eq!((past[&"a1".into()].errors(), past[&"a1".into()].response.count()), (2, 32));
        assert_eq!(past[&"a2".into()].completed, 7);
    }
}
