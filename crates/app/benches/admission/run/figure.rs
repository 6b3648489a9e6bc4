//! A figure, direct and through the gateway, and what it has to be.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Count,
    PerSecond,
    Seconds,
    Share,
    Index,
    Times,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) direct: Option<f64>,
    /// None if there was nothing to take it of; then no goal is met.
    pub(crate) gateway: Option<f64>,
    /// Of what came through the gateway. None for what only stands beside.
    pub(crate) goal: Option<Goal>,
}

impl Figure {
    pub(crate) fn new(name: &'static str, unit: Unit, direct: Option<f64>, gateway: Option<f64>) -> Self {
        Self { name, unit, direct, gateway, goal: None }
    }

    /// What there is of the gateway alone.
    pub(crate) fn of_gateway(name: &'static str, unit: Unit, gateway: Option<f64>) -> Self {
        Self::new(name, unit, None, gateway)
    }

    #[must_use]
    pub(crate) fn has_to_be(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// True where there is no goal.
    pub(crate) fn is_met(&self) -> bool {
        match (self.goal, self.gateway) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(Goal::AtLeast(least)), Some(figure)) => figure >= least,
            (Some(Goal::AtMost(most)), Some(figure)) => figure <= most,
        }
    }
}
