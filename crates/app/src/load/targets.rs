//! Who the tasks are for.

use bellwether_core::{
    id::{AgentName, AgentType},
    spec::Spec,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Agent(AgentName),
    Type(AgentType),
}

impl Target {
    /// The field of the task API and its value.
    pub(crate) fn field(&self) -> (&'static str, &str) {
        match self {
            Self::Agent(name) => ("agent", name.as_str()),
            Self::Type(name) => ("type", name.as_str()),
        }
    }
}

/// Targets with their share of the tasks. Never empty.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    /// Each with the sum of the weights up to and including its own.
    up_to: Vec<(f64, Target)>,
    total: f64,
}

impl Targets {
    /// None if no target has a weight above nought.
    pub(crate) fn new(weighted: impl IntoIterator<Item = (Target, f64)>) -> Option<Self> {
        let mut total = 0.0;
        let mut up_to = Vec::new();
        for (target, weight) in weighted {
            if weight > 0.0 && weight.is_finite() {
                total += weight;
                up_to.push((total, target));
            }
        }
        (!up_to.is_empty()).then_some(Self { up_to, total })
    }

    /// Each agent of the fleet alike.
    pub(crate) fn by_agent(spec: &Spec) -> Option<Self> {
        Self::new(spec.agents.iter().map(|agent| (Target::Agent(agent.name.clone()), 1.0)))
    }

    /// Each type of the fleet by the number of its agents.
    pub(crate) fn by_type(spec: &Spec) -> Option<Self> {
        let mut weights: Vec<(Target, f64)> = Vec::new();
        for agent in &spec.agents {
            let target = Target::Type(agent.agent_type.clone());
            match weights.iter_mut().find(|(known, _)| *known == target) {
                Some((_, weight)) => *weight += 1.0,
                None => weights.push((target, 1.0)),
            }
        }
        Self::new(weights)
    }

    pub(crate) fn pick(&self, chance: &mut fastrand::Rng) -> &Target {
        let at = chance.f64() * self.total;
        let index = self.up_to.partition_point(|(up_to, _)| *up_to <= at);
        // Rounding may carry the last draw past the end.
        &self.up_to[index.min(self.up_to.len() - 1)].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_weights() {
        let named = |name: &str| Target::Type(name.into());
        let targets = Targets::new([(named("a"), 1.0), (named("none"), 0.0), (named("b"), 3.0)]).unwrap();
        let mut chance = fastrand::Rng::with_seed(7);
        let b = (0..10_000).filter(|_| *targets.pick(&mut chance) == named("b")).count();
        // Four standard deviations of a binomial with p = 3/4.
        assert!((7327..=7673).contains(&b), "{b}");
        assert!(Targets::new([(named("a"), 0.0)]).is_none());
        assert!(Targets::new([(named("a"), f64::NAN)]).is_none());
    }
}
