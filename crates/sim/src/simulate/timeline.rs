//! What the time of a rollout went to.

use std::collections::BTreeMap;

use bellwether_core::time::{Millis, Nanos};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spent {
    Baseline,
    /// Waiting for room in memory, or for an instance that ended to be tried again.
    Room,
    Boot,
    TryOut,
    /// Traffic is being moved.
    Move,
    Bake,
    /// A bake that was made longer, because the first look could not tell.
    Extension,
    Gate,
    Validation,
    RollingBack,
    /// Held: somebody has to decide.
    Held,
}

impl Spent {
    pub fn words(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Room => "room or retries",
            Self::Boot => "booting",
            Self::TryOut => "synthetic tasks",
            Self::Move => "moving traffic",
            Self::Bake => "baking",
            Self::Extension => "longer bakes",
            Self::Gate => "gates",
            Self::Validation => "validation",
            Self::RollingBack => "rolling back",
            Self::Held => "held",
        }
    }
}

/// Spans by phase, counted from 0, and by what they were spent on. What belongs to no phase has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    now: Option<(Nanos, Option<usize>, Spent)>,
    spans: BTreeMap<(Option<usize>, Spent), Millis>,
}

impl Timeline {
    /// From here on time is spent on this, or on nothing.
    pub(crate) fn note(&mut self, at: Nanos, on: Option<(Option<usize>, Spent)>) {
        if let Some((since, phase, spent)) = self.now {
            if on == Some((phase, spent)) {
                return;
            }
            let span = self.spans.entry((phase, spent)).or_default();
            *span = *span + at.since(since);
        }
        self.now = on.map(|(phase, spent)| (at, phase, spent));
    }

    pub(crate) fn spans(&self) -> &BTreeMap<(Option<usize>, Spent), Millis> {
        &self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_one_kind_add_up_and_end_where_another_begins() {
        let mut timeline = Timeline::default();
        let at = |seconds| Nanos(0) + Millis::from_secs(seconds);
        timeline.note(at(1), Some((Some(0), Spent::Boot)));
        timeline.note(at(3), Some((Some(0), Spent::Boot)));
        timeline.note(at(4), Some((Some(0), Spent::Bake)));
        timeline.note(at(9), Some((Some(0), Spent::Boot)));
        timeline.note(at(10), None);
        let spans: Vec<_> = timeline.spans().iter().map(|((_, spent), span)| (*spent, span.0)).collect();
        assert_eq!(spans, [(Spent::Boot, 4_000), (Spent::Bake, 5_000)]);
    }
}
