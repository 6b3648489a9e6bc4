//! A rollback in two lines: what fired and why, and how long each part of it took.

use bellwether_core::rollout::{RollbackRecord, Trigger};

use crate::limits::{Span, spans};

/// What fired, when it is known when the harm began, and the time each step took against its limit.
pub(crate) fn undone(record: &RollbackRecord) -> Vec<String> {
    let mut lines = vec![format!("fired: {}", fired(&record.trigger))];
    lines.extend(record.also.iter().map(|trigger| format!("then:  {}", fired(trigger))));
    lines.push(format!("times: {}", times(record)));
    if let Some(fault) = &record.fault {
        lines.push(format!("blue:  {fault}"));
    }
    lines
}

/// `detected 2.1s of 30s · traffic on blue 0.4s of 1m · …`: each beside what it may take.
pub(crate) fn times(record: &RollbackRecord) -> String {
    let shown = spans(record).into_iter().filter(|span| span.took.is_some() || span.requirement != "R46");
    shown.map(|span| time(&span)).collect::<Vec<_>>().join(" · ")
}

fn time(span: &Span) -> String {
    let Span { name, requirement, took, limit } = *span;
    match (took, span.is_kept()) {
        (Some(took), Some(true)) => format!("{name} {took} of {limit}"),
        (Some(took), _) => format!("{name} {took} of {limit}, MISSED ({requirement})"),
        (None, _) => format!("{name} not yet, of {limit}"),
    }
}

fn fired(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Alarm(alarm) if alarm.shared => format!("{trigger} (blue suffers as well)"),
        Trigger::Alarm(_)
        | Trigger::Operator { .. }
        | Trigger::Gate { .. }
        | Trigger::CrashLoop { .. }
        | Trigger::OutOfMemory { .. }
        | Trigger::Drill
        | Trigger::Unrecorded { .. }
        | Trigger::WindowClosed { .. } => trigger.to_string(),
    }
}
