//! The cutovers of a run, and who was allowed to answer when.

use std::{ops::Range, time::Duration};

use bellwether_core::id::Side;

use crate::fleet::Agent;

pub(crate) struct Cutover {
    pub(crate) agents: Range<Agent>,
    pub(crate) to: Side,
    /// When the intent was sent.
    pub(crate) sent: Duration,
    /// When the acknowledgement arrived.
    pub(crate) done: Duration,
}

/// In the order in which they were made.
#[derive(Default)]
pub(crate) struct Cutovers(Vec<Cutover>);

impl Cutovers {
    pub(crate) fn push(&mut self, cutover: Cutover) {
        self.0.push(cutover);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Cutover> {
        self.0.iter()
    }

    /// Whether a request that was sent and answered at these times was answered by a side that was retired
    /// before it was sent. While a cutover is under way, either side may answer.
    pub(crate) fn is_stale(&self, agent: Agent, sent: Duration, answered: Duration, by: Side) -> bool {
        let mut is_allowed = false;
        for cutover in self.0.iter().filter(|it| it.agents.contains(&agent)) {
            if cutover.done <= sent {
                is_allowed = cutover.to == by;
            } else if cutover.sent <= answered {
                is_allowed |= cutover.to == by;
            }
        }
        !is_allowed
    }
}
