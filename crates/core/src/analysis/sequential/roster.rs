//! The fleet as the evidence sees it: who is of which type, who is green, and what each did since the phase began.
//!
//! Sides are learnt from the records: an agent is on the side for which its latest outcomes were drawn. Before the
//! first of them it counts as blue, which is where a rollout begins.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{
        Tally,
        exact::{at_least, real},
    },
    LINES,
};
use crate::{
    id::{AgentName, AgentType, ModelName, Side},
    observation::Cell,
};

/// An agent that failed on blue so often that chance explains it no better than this is set apart.
const APART: f64 = 1e-4;
/// And no fewer errors than this set it apart.
const APART_ERRORS_MIN: u64 = 3;
/// Outcomes in a baseline that everyone is expected to get at least.
const WEIGHT_MIN: f64 = 0.5;

pub(super) struct Roster {
    index: BTreeMap<AgentName, usize>,
    members: Vec<Member>,
    kinds: Vec<Kind>,
}

pub(super) struct Member {
    pub(super) name: AgentName,
    pub(super) kind: usize,
    side: Side,
    /// How much of its type's traffic it is expected to get.
    weight: f64,
    /// Its own past on blue is bad, so that against others the revision would get the blame.
    apart: bool,
    blue: Trials,
    /// Green's, since the phase began.
    pub(super) errors: Trials,
    pub(super) slow: [Trials; LINES],
}

/// Outcomes and those that were harmful.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trials {
    pub(super) of: u64,
    pub(super) hits: u64,
}

/// A type of agents; sums leave out the greens that are apart.
struct Kind {
    name: AgentType,
    blues: f64,
    greens: f64,
}

impl Trials {
    pub(super) fn add(&mut self, of: u64, hits: u64) {
        self.of = self.of.saturating_add(of);
        self.hits = self.hits.saturating_add(hits.min(of));
    }

    /// Whether chance explains so many hits no better than `level`, if each comes with `rate`.
    pub(super) fn clearly_above(self, rate: f64, level: f64) -> bool {
        self.hits > 0 && at_least(self.hits, self.of, rate) <= level
    }
}

impl Roster {
    /// `base_rate` is the error rate of the whole baseline.
    pub(super) fn new(
        agents: &[(AgentName, AgentType, ModelName)],
        past: &BTreeMap<AgentName, Tally>,
        base_rate: f64,
    ) -> Self {
        let mut roster = Self { index: BTreeMap::new(), members: Vec::new(), kinds: Vec::new() };
        let mut kinds: BTreeMap<&AgentType, usize> = BTreeMap::new();
        for (name, agent_type, _) in agents {
            if roster.index.contains_key(name) {
                continue;
            }
            let kind = *kinds.entry(agent_type).or_insert_with(|| {
                roster.kinds.push(Kind { name: agent_type.clone(), blues: 0.0, greens: 0.0 });
                roster.kinds.len() - 1
            });
            let mut before = Trials::default();
            if let Some(tally) = past.get(name) {
                before.add(tally.outcomes(), tally.errors());
            }
            roster.index.insert(name.clone(), roster.members.len());
            roster.members.push(Member {
                name: name.clone(),
                kind,
                side: Side::Blue,
                weight: real(before.of),
                apart: before.hits >= APART_ERRORS_MIN && before.clearly_above(base_rate, APART),
                blue: Trials::default(),
                errors: Trials::default(),
                slow: [Trials::default(); LINES],
            });
        }
        roster.weigh();
        roster.count();
        roster
    }

    pub(super) fn kinds(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn kind_name(&self, kind: usize) -> Option<&AgentType> {
        self.kinds.get(kind).map(|kind| &kind.name)
    }

    pub(super) fn kind_of(&self, member: usize) -> usize {
        self.members[member].kind
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn find(&self, agent: &AgentName) -> Option<usize> {
        self.index.get(agent).copied()
    }

    /// Learns from a second's cells who changed sides, and returns the types of those. `rate_of` is blue's error rate
    /// in a type.
    pub(super) fn learn_sides(&mut self, cells: &[(usize, &Cell)], rate_of: impl Fn(usize) -> f64) -> BTreeSet<usize> {
        // An agent whose old side still finishes something is on the new side all the same.
        let moved = |&(member, cell): &(usize, &Cell)| {
            let worked = !cell.tasks.is_empty() || !cell.pushes.is_empty() || cell.signs.trials > 0;
            (worked && self.members[member].side != cell.drawn).then_some(member)
        };
        let moved: BTreeSet<usize> = cells.iter().filter_map(moved).collect();
        for &index in &moved {
            let member = &mut self.members[index];
            member.side = match member.side {
                Side::Blue => Side::Green,
                Side::Green => Side::Blue,
            };
            if member.side == Side::Green {
                let blue = member.blue;
                member.apart |= blue.hits >= APART_ERRORS_MIN && blue.clearly_above(rate_of(member.kind), APART);
            }
        }
        if !moved.is_empty() {
            self.count();
        }
        moved.into_iter().map(|index| self.members[index].kind).collect()
    }

    /// The share of a type's outcomes that is expected of green, those apart left out. 0 and 1 where a side is empty.
    pub(super) fn share(&self, kind: usize) -> f64 {
        self.kinds
            .get(kind)
            .map_or(0.0, |kind| if kind.greens > 0.0 { kind.greens / (kind.greens + kind.blues) } else { 0.0 })
    }

    /// Green's share of the fleet's agents.
    pub(super) fn share_of_all(&self) -> f64 {
        let greens = self.members.iter().filter(|member| member.side == Side::Green).count();
        real(greens as u64) / real((self.members.len() as u64).max(1))
    }

    /// Whether an agent's outcomes on a side can be compared with those of others.
    pub(super) fn compares(&self, member: usize, drawn: Side) -> bool {
        drawn == Side::Blue || !self.members[member].apart
    }

    pub(super) fn errors(&mut self, member: usize, drawn: Side, of: u64, hits: u64) {
        let member = &mut self.members[member];
        match drawn {
            Side::Blue => member.blue.add(of, hits),
            Side::Green => member.errors.add(of, hits),
        }
    }

    pub(super) fn slow(&mut self, member: usize, line: usize, of: u64, hits: u64) {
        self.members[member].slow[line].add(of, hits);
    }

    pub(super) fn phase(&mut self) {
        for member in &mut self.members {
            member.errors = Trials::default();
            member.slow = [Trials::default(); LINES];
        }
    }

    /// Turns outcomes in the baseline into expected traffic: drawn towards the mean of the type as far as the differences
    /// are those of a random draw (James and Stein 1961, with the variance of counts).
    fn weigh(&mut self) {
        let mut sums = vec![(0.0, 0.0); self.kinds.len()];
        for member in &self.members {
            sums[member.kind].0 += member.weight;
            sums[member.kind].1 += 1.0;
        }
        let mean = |kind: usize| sums[kind].0 / sums[kind].1;
        let squares: f64 = self.members.iter().map(|m| (m.weight - mean(m.kind)).powi(2)).sum();
        let by_chance: f64 = sums.iter().map(|&(sum, agents)| sum / agents * (agents - 1.0)).sum();
        let kept = if squares > 0.0 { (1.0 - by_chance / squares).clamp(0.0, 1.0) } else { 0.0 };
        for member in &mut self.members {
            let mean = mean(member.kind);
            // Nobody is expected to get nothing: who got none may get some.
            member.weight = (mean + kept * (member.weight - mean)).max(WEIGHT_MIN);
        }
    }

    fn count(&mut self) {
        self.kinds.iter_mut().for_each(|kind| (kind.blues, kind.greens) = (0.0, 0.0));
        for member in &self.members {
            let kind = &mut self.kinds[member.kind];
            match member.side {
                Side::Blue => kind.blues += member.weight,
                Side::Green if !member.apart => kind.greens += member.weight,
                Side::Green => {}
            }
        }
    }
}
