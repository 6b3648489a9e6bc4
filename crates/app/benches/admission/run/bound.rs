//! The published bound of a wait, of what was measured.

use bellwether_core::{
    inference::{Class, Demand, Limits},
    time::Millis,
};

use super::{
    figure::{Figure, Goal, Unit},
    ledger::Ledger,
    stage::SLOTS,
};
use crate::model_load::Report;

/// Who waits, beside whom.
#[derive(Clone, Copy)]
pub(crate) struct Beside {
    pub(crate) models: u32,
    /// Other clients that ask for the same model, and their weights together.
    pub(crate) others: u32,
    pub(crate) others_weight: u64,
    pub(crate) weight: u32,
    /// Connections of the client.
    pub(crate) connections: u32,
}

impl Beside {
    /// Clients of weight 1 with one connection each, this one and `others`.
    pub(crate) fn equals(models: u32, others: u32) -> Self {
        Self { models, others, others_weight: others.into(), weight: 1, connections: 1 }
    }

    /// In seconds, with the longest call and load that there were.
    pub(crate) fn wait_max(&self, ledger: &Ledger) -> f64 {
        let Self { models: runners, others, others_weight, weight, connections } = *self;
        let demand = Demand {
            class: Class::Interactive,
            runners,
            others,
            others_weight,
            weight,
            own_ahead: connections.saturating_sub(1),
            call: Millis(ledger.call_max_ms()),
            load: Millis(ledger.load_max_ms()),
        };
        Limits::for_slots(SLOTS).wait_max(&demand).as_secs_f64()
    }

    /// The longest wait of a load, which has to be below.
    pub(crate) fn longest_wait(&self, direct: Option<&Report>, gateway: &Report, ledger: &Ledger) -> Figure {
        let longest = Figure::new("longest wait", Unit::Seconds, direct.and_then(longest), longest(gateway));
        longest.has_to_be(Goal::AtMost(self.wait_max(ledger)))
    }
}

/// In seconds.
pub(crate) fn longest(report: &Report) -> Option<f64> {
    report.figure("/wait_max_ms").map(|ms| ms / 1e3)
}
