//! Keeps the watch of the rollout that is under way: fed with every one-second record once and in order, with usage
//! and health as they come. What it raises becomes events of the machine; this decides nothing about a rollout.
//!
//! The gateway's spool is the truth: a watch starts from it, and what the link did not deliver is read there. Gauges
//! (memory, CPU, health) are of the moment and begin afresh after a restart.

mod prepare;
#[cfg(test)]
mod tests;

use bellwether_core::{
    id::RolloutId,
    observation::Second,
    rollout::{Event, RollbackStep, Rollout, State},
    time::{Millis, UnixMillis},
    watch::{Alarm, HealthCheck, UsageBeat, Watch},
};

pub(crate) use prepare::{Job, Prepared};

/// The span of a record.
const SECOND: Millis = Millis::from_secs(1);
/// A fault that only reads differently, as its numbers went on, is told after so many records: it may stand for hours.
const REWORDED_AFTER: u64 = 10;

pub(crate) struct Watching {
    stage: Stage,
    /// When the controller before this one last took in an alarm, or a person let a rollout go on. What older records
    /// raise while the watch is made again is dropped: it was acted on, or whoever resumed has seen it.
    decided: UnixMillis,
    /// The number of the newest record that was told.
    newest: u64,
    /// The number of the record after which the machine was last told of blue.
    blue_told: u64,
}

enum Stage {
    /// There is nothing to watch.
    Idle,
    /// The baseline is being read, and what came after it.
    Preparing {
        rollout: RolloutId,
    },
    Watching(Watched),
    /// There is no baseline to watch against. All that can be said of blue then is whether its model server answers.
    Blind {
        rollout: RolloutId,
        fault: Option<String>,
    },
}

struct Watched {
    rollout: RolloutId,
    watch: Box<Watch>,
    /// The number of the last record that went in.
    fed: u64,
    /// Records after that one are being read.
    fetching: bool,
}

impl Watching {
    pub(crate) fn new(decided: UnixMillis) -> Self {
        Self { stage: Stage::Idle, decided, newest: 0, blue_told: 0 }
    }

    /// Takes up or drops the watch as the rollout wants it. The answer is what to read, if anything.
    pub(crate) fn follow(&mut self, rollout: Option<&Rollout>) -> Option<Job> {
        let Some(rollout) = rollout.filter(|rollout| is_watched(rollout.state)) else {
            self.stage = Stage::Idle;
            return None;
        };
        if self.stage.rollout() == Some(rollout.id) {
            return self.missing(rollout);
        }
        let Some(until) = rollout.baseline_until_second else {
            self.stage = Stage::Blind { rollout: rollout.id, fault: None };
            return None;
        };
        self.stage = Stage::Preparing { rollout: rollout.id };
        Some(Job::Prepare { rollout: Box::new(rollout.clone()), after: until })
    }

    /// Whether anybody is interested in usage and health.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.stage, Stage::Watching(_))
    }

    pub(crate) fn prepared(&mut self, rollout: RolloutId, prepared: Prepared) -> Vec<Alarm> {
        if !matches!(self.stage, Stage::Preparing { rollout: wanted } if wanted == rollout) {
            return Vec::new();
        }
        match prepared {
            Prepared::Ready { watch, fed, alarms } => {
                tracing::info!(%rollout, fed, "watching");
                self.stage = Stage::Watching(Watched { rollout, watch, fed, fetching: false });
                self.not_overruled(alarms)
            }
            Prepared::NoBaseline(error) => {
                tracing::error!(%rollout, error, "the rollout cannot be watched: its baseline cannot be read again");
                self.stage = Stage::Blind { rollout, fault: None };
                Vec::new()
            }
            // The next occasion to follow tries again.
            Prepared::Unreadable => {
                self.stage = Stage::Idle;
                Vec::new()
            }
        }
    }

    /// Takes a record as it is closed. One that does not follow on the last waits until those between are read.
    pub(crate) fn second(&mut self, second: &Second, rollout: &Rollout) -> Vec<Alarm> {
        self.newest = self.newest.max(second.number);
        match &mut self.stage {
            Stage::Watching(watched) if second.number == watched.fed + 1 && !watched.fetching => {
                watched.fed = second.number;
                watched.watch.second(second, phase_at(rollout, second.at))
            }
            Stage::Blind { fault, .. } => {
                if second.probes > 0 {
                    *fault = (second.probes_failed > 0)
                        .then(|| "the model server did not answer when it was last asked".to_owned());
                }
                Vec::new()
            }
            Stage::Watching(_) | Stage::Preparing { .. } | Stage::Idle => Vec::new(),
        }
    }

    /// Takes what was missing, as it was read from the spool. None: it could not be read.
    pub(crate) fn fetched(&mut self, rollout: &Rollout, records: Option<&[Second]>) -> Vec<Alarm> {
        let Stage::Watching(watched) = &mut self.stage else { return Vec::new() };
        if watched.rollout != rollout.id {
            return Vec::new();
        }
        watched.fetching = false;
        let mut alarms = Vec::new();
        for second in records.unwrap_or_default() {
            if second.number > watched.fed {
                watched.fed = second.number;
                alarms.extend(watched.watch.second(second, phase_at(rollout, second.at)));
            }
        }
        alarms
    }

    pub(crate) fn usage(&mut self, beat: &UsageBeat) -> Vec<Alarm> {
        match &mut self.stage {
            Stage::Watching(watched) => watched.watch.usage(beat),
            Stage::Idle | Stage::Preparing { .. } | Stage::Blind { .. } => Vec::new(),
        }
    }

    pub(crate) fn health(&mut self, check: &HealthCheck) -> Option<Alarm> {
        match &mut self.stage {
            Stage::Watching(watched) => watched.watch.health(check),
            Stage::Idle | Stage::Preparing { .. } | Stage::Blind { .. } => None,
        }
    }

    /// What the machine is to be told of blue after this record, which must lie wholly after the traffic's return to
    /// blue. None where it knows, or where nothing can be said yet.
    pub(crate) fn blue(&mut self, second: &Second, rollout: &Rollout) -> Option<Event> {
        match rollout.state {
            State::RollingBack { step: RollbackStep::Validate } | State::NeedsAttention => {}
            State::Preflight
            | State::Progressing { .. }
            | State::Validating { .. }
            | State::Completed
            | State::Committed
            | State::RollingBack { step: RollbackStep::Shift | RollbackStep::Swap }
            | State::RolledBack
            | State::PreflightFailed => return None,
        }
        let record = rollout.rollback.as_ref()?;
        if second.at < record.shifted? + SECOND || self.stage.rollout() != Some(rollout.id) {
            return None;
        }
        let fault = match &self.stage {
            Stage::Watching(watched) if watched.fed >= second.number => watched.watch.fault_of_blue(),
            Stage::Blind { fault, .. } => fault.clone(),
            Stage::Watching(_) | Stage::Preparing { .. } | Stage::Idle => return None,
        };
        let reworded = record.checked && record.fault.is_some() && fault.is_some();
        let known = record.checked && record.fault == fault;
        if known || reworded && second.number < self.blue_told + REWORDED_AFTER {
            return None;
        }
        self.blue_told = second.number;
        Some(Event::RollbackChecked { rollout: rollout.id, fault })
    }

    fn missing(&mut self, rollout: &Rollout) -> Option<Job> {
        match &mut self.stage {
            Stage::Watching(watched) if watched.fed < self.newest && !watched.fetching => {
                watched.fetching = true;
                Some(Job::Fetch { rollout: rollout.id, after: watched.fed })
            }
            Stage::Watching(_) | Stage::Idle | Stage::Preparing { .. } | Stage::Blind { .. } => None,
        }
    }

    fn not_overruled(&self, alarms: Vec<(UnixMillis, Alarm)>) -> Vec<Alarm> {
        let (counted, dropped): (Vec<_>, Vec<_>) = alarms.into_iter().partition(|(at, _)| *at > self.decided);
        for (_, alarm) in dropped {
            tracing::info!(
                kind = alarm.kind.name(),
                why = alarm.why,
                "an alarm of records from before the last decision"
            );
        }
        counted.into_iter().map(|(_, alarm)| alarm).collect()
    }
}

impl Stage {
    fn rollout(&self) -> Option<RolloutId> {
        match self {
            Self::Idle => None,
            Self::Preparing { rollout } | Self::Blind { rollout, .. } => Some(*rollout),
            Self::Watching(watched) => Some(watched.rollout),
        }
    }
}

/// From the first change until there is nothing left that could be taken back or has to be checked.
fn is_watched(state: State) -> bool {
    match state {
        State::Progressing { .. }
        | State::Validating { .. }
        | State::Completed
        | State::RollingBack { .. }
        | State::NeedsAttention => true,
        State::Preflight | State::Committed | State::RolledBack | State::PreflightFailed => false,
    }
}

/// The phase that was under way at this moment. The same for a record as it comes and as it is read again.
fn phase_at(rollout: &Rollout, at: UnixMillis) -> usize {
    rollout.phases.iter().rposition(|phase| phase.began < at).unwrap_or(0)
}
