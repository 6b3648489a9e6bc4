//! The route table: per agent the active instance, its fence, and where the gateway may fall back to.
//!
//! A generation is one atomic change of the table. The one that follows is the only one accepted; the one that
//! stands may be repeated word for word.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::{AgentName, Fence, Generation, InstanceId},
    port::gateway::{Move, RouteView},
};

use super::roster::Roster;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// None after the active instance was forgotten; requests wait.
    pub active: Option<InstanceId>,
    /// Never goes back, also while there is no active instance.
    pub fence: Fence,
    pub fallback: Option<InstanceId>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("the generation does not follow {standing}, which stands")]
    Stale { standing: Generation },
    #[error("instance {0} is not enrolled")]
    Unknown(InstanceId),
    #[error("the process of instance {0} is gone")]
    Gone(InstanceId),
    #[error("instance {instance} belongs to agent {owner}, not to {agent}")]
    Foreign { instance: InstanceId, owner: AgentName, agent: AgentName },
    #[error("agent {0} is moved twice in one generation")]
    Twice(AgentName),
    #[error("instance {0} cannot be its own fallback")]
    OwnFallback(InstanceId),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Routes {
    generation: Generation,
    moves: Vec<Move>,
    routes: BTreeMap<AgentName, Route>,
}

/// What a move did to an agent.
pub(super) struct Moved {
    pub(super) agent: AgentName,
    pub(super) from: Option<InstanceId>,
    pub(super) to: InstanceId,
    pub(super) route: Route,
}

impl Routes {
    pub(super) fn restore(generation: Generation, moves: Vec<Move>, routes: BTreeMap<AgentName, Route>) -> Self {
        Self { generation, moves, routes }
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    pub(super) fn get(&self, agent: &AgentName) -> Route {
        self.routes.get(agent).copied().unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&AgentName, &Route)> {
        self.routes.iter()
    }

    pub(super) fn views(&self) -> Vec<RouteView> {
        let view = |(agent, route): (&AgentName, &Route)| {
            let active = route.active?;
            Some(RouteView { agent: agent.clone(), active, fence: route.fence, fallback: route.fallback })
        };
        self.routes.iter().filter_map(view).collect()
    }

    /// `None` if exactly this was done already.
    pub(super) fn cut_over(
        &mut self,
        generation: Generation,
        moves: &[Move],
        roster: &Roster,
    ) -> Result<Option<Vec<Moved>>, RouteError> {
        if generation == self.generation && self.moves == moves && generation != Generation(0) {
            return Ok(None);
        }
        if generation != self.generation.next() {
            return Err(RouteError::Stale { standing: self.generation });
        }
        check(moves, roster)?;
        self.generation = generation;
        self.moves = moves.to_vec();
        Ok(Some(moves.iter().map(|to| self.carry_out(to)).collect()))
    }

    /// The gateway's own cutover, where the active instance died and a warm one stands by.
    pub(super) fn fall_back(&mut self, agent: &AgentName, to: InstanceId) -> Moved {
        self.generation = self.generation.next();
        self.moves.clear();
        self.carry_out(&Move { agent: agent.clone(), to, fallback: None })
    }

    /// Takes an instance that is gone for good out of the agent's route. Returns the route if it changed.
    pub(super) fn forget(&mut self, agent: &AgentName, instance: InstanceId) -> Option<Route> {
        let route = self.routes.get_mut(agent)?;
        let before = *route;
        route.active = route.active.filter(|&active| active != instance);
        route.fallback = route.fallback.filter(|&fallback| fallback != instance);
        (*route != before).then_some(*route)
    }

    fn carry_out(&mut self, one: &Move) -> Moved {
        let route = self.routes.entry(one.agent.clone()).or_default();
        let from = route.active.filter(|&from| from != one.to);
        *route = Route { active: Some(one.to), fence: route.fence.next(), fallback: one.fallback };
        Moved { agent: one.agent.clone(), from, to: one.to, route: *route }
    }
}

fn check(moves: &[Move], roster: &Roster) -> Result<(), RouteError> {
    let mut seen = BTreeSet::new();
    for Move { agent, to, fallback } in moves {
        if !seen.insert(agent) {
            return Err(RouteError::Twice(agent.clone()));
        }
        if *fallback == Some(*to) {
            return Err(RouteError::OwnFallback(*to));
        }
        for instance in [Some(*to), *fallback].into_iter().flatten() {
            let enrolled = roster.get(instance).ok_or(RouteError::Unknown(instance))?;
            if &enrolled.card.agent != agent {
                let owner = enrolled.card.agent.clone();
                return Err(RouteError::Foreign { instance, owner, agent: agent.clone() });
            }
            if enrolled.gone {
                return Err(RouteError::Gone(instance));
            }
        }
    }
    Ok(())
}
