//! How long a rollback may take: the figures of R46 to R49, and whether one kept them.

use bellwether_core::{rollout::RollbackRecord, time::Millis};

/// One span of a rollback, beside what it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) name: &'static str,
    pub(crate) requirement: &'static str,
    pub(crate) took: Option<Millis>,
    pub(crate) limit: Millis,
}

impl Span {
    /// None while it is not over, or where it cannot be measured.
    pub(crate) fn is_kept(&self) -> Option<bool> {
        self.took.map(|took| took < self.limit)
    }
}

/// In the order in which they pass.
pub(crate) fn spans(record: &RollbackRecord) -> [Span; 4] {
    let span = |name, requirement, took, limit| Span { name, requirement, took, limit };
    [
        span("detected", "R46", record.detection(), RollbackRecord::DETECTION_MAX),
        span("traffic on blue", "R47", record.execution(), RollbackRecord::EXECUTION_MAX),
        span("blue validated", "R48", record.validation(), RollbackRecord::VALIDATION_MAX),
        span("in all", "R49", record.end_to_end(), RollbackRecord::END_TO_END_MAX),
    ]
}

/// Everything that was measured is within its limit, and the end was reached.
pub(crate) fn kept(record: &RollbackRecord) -> bool {
    record.end_to_end().is_some() && spans(record).iter().all(|span| span.is_kept() != Some(false))
}
