//! States in words.

use bellwether_core::{
    rollout::{PauseReason, RollbackStep, RolloutView, State, Step, Trigger},
    spec::Approval,
    time::UnixMillis,
};
use jiff::Timestamp;

/// `phase 2 of 4, limited: baking`.
pub(crate) fn stage(rollout: &RolloutView) -> String {
    let step = match rollout.state {
        State::Preflight => "measuring the baseline".into(),
        State::Progressing { phase, step } => {
            let name = rollout.phases.get(phase).map_or("?", |p| p.name.as_str());
            let batches = rollout.phases.get(phase).map_or(0, |p| p.batches);
            let what = match step {
                Step::AwaitingApproval => match rollout.phases.get(phase).map(|p| p.approval) {
                    Some(Approval::Other) => format!("waits for the approval of somebody else than {}", rollout.by),
                    Some(Approval::None | Approval::Required) | None => "waits for an approval".to_owned(),
                },
                Step::Warming { batch } => format!("starting green, batch {} of {batches}", batch + 1),
                Step::CuttingOver { batch } => format!("cutting over, batch {} of {batches}", batch + 1),
                Step::Halfway { .. } => "the first half bakes".to_owned(),
                Step::Baking { look: 1 } => "baking".into(),
                Step::Baking { .. } => "baking, extended".into(),
                Step::Gate { .. } => "judging".into(),
                Step::Held => "held".into(),
            };
            format!("phase {} of {}, {name}: {what}", phase + 1, rollout.phases.len())
        }
        State::Validating { judging: false } => "validating".into(),
        State::Validating { judging: true } => "validating: judging".into(),
        State::Completed => "completed; blue is held for a rollback".into(),
        State::Committed => "committed".into(),
        State::RollingBack { step: RollbackStep::Shift } => "rolling back: traffic to blue".into(),
        State::RollingBack { step: RollbackStep::Swap } => "rolling back: ending green".into(),
        State::RollingBack { step: RollbackStep::Validate } => "rolling back: validating blue".into(),
        State::RolledBack => "rolled back".into(),
        State::NeedsAttention => "needs attention: the rollback did not come to its end".into(),
        State::PreflightFailed => "preflight failed".into(),
    };
    match &rollout.paused {
        None => step,
        Some(reason) => format!("{step} · {}", paused(reason)),
    }
}

/// Why a rollout waits.
pub(crate) fn paused(reason: &PauseReason) -> String {
    match reason {
        PauseReason::ThinEvidence => "paused: the evidence is thin, promote or roll back".to_owned(),
        PauseReason::Asked { by, why } if why.is_empty() => format!("paused by {by}"),
        PauseReason::Asked { by, why } => format!("paused by {by}: {why}"),
        PauseReason::SharedFault { why } => format!("held: blue suffers as green does: {why}"),
        PauseReason::PartlyRolledBack { why } => format!("paused: a part was taken back: {why}"),
        PauseReason::DiskFull { why } => format!("paused: the disk is full: {why}"),
        PauseReason::Frozen { name, ends, .. } => format!("frozen by {name:?} until {ends}"),
        PauseReason::WindowClosed => "paused: its window closed before it was done".to_owned(),
    }
}

/// `2026-11-23 02:41:07 UTC`
pub(crate) fn moment(at: UnixMillis) -> String {
    shown(at, "%F %T UTC")
}

/// `02:41:07 UTC`
pub(crate) fn clock(at: UnixMillis) -> String {
    shown(at, "%T UTC")
}

fn shown(at: UnixMillis, form: &str) -> String {
    let at = i64::try_from(at.0).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    at.map_or_else(|| "a time beyond the calendar".to_owned(), |at| at.strftime(form).to_string())
}

pub(crate) fn trigger(trigger: &Trigger) -> String {
    trigger.to_string()
}

pub(crate) fn mib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for display")]
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib >= 1024.0 { format!("{:.1} GiB", mib / 1024.0) } else { format!("{mib:.0} MiB") }
}
