//! The tables.

use std::fmt;

use serde::Serialize;

use crate::{measure, rollout::Rollout, waiting};

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) payload_bytes: usize,
    pub(crate) seconds: f64,
    pub(crate) cycles: Vec<measure::Row>,
    pub(crate) waiting: Vec<waiting::Row>,
    pub(crate) rollout: Option<Rollout>,
}

/// The goal: tasks may take this much longer at the 99th percentile while agents are moved.
const RATIO_MAX: f64 = 1.5;

impl Report {
    /// Nothing was lost. Times are for people to judge.
    pub(crate) fn is_sound(&self) -> bool {
        self.rollout.as_ref().is_none_or(|rollout| rollout.violations.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.cycles.is_empty() {
            writeln!(
                f,
                "submit, lease, complete: {} bytes, each step on the disk before its answer; p50 / p99\n",
                self.payload_bytes
            )?;
            write!(f, "{:<12}{:>12}{:>12}", "queue", "connections", "tasks/s")?;
            measure::STEPS.iter().try_for_each(|step| write!(f, "{step:>20}"))?;
            writeln!(f, "{:>10}", "ours is")?;
            let mut ours = f64::NAN;
            for row in &self.cycles {
                write!(f, "{row}")?;
                if row.queue == "bellwether" {
                    ours = row.tasks_per_second;
                } else if row.skipped.is_none() {
                    write!(f, "{:>9.2}×", ours / row.tasks_per_second)?;
                }
                writeln!(f)?;
            }
            writeln!(f)?;
        }
        if !self.waiting.is_empty() {
            writeln!(
                f,
                "waiting tasks: the gateway's memory in MiB, and a restart from SIGKILL to the first answer\n\n\
                 {:>6}{:>10}{:>10}{:>10}{:>13}{:>10}{:>12}{:>12}{:>10}",
                "bytes", "tasks", "empty", "full", "per 100,000", "on disk", "submitted/s", "restart", "after it"
            )?;
            self.waiting.iter().try_for_each(|row| writeln!(f, "{row}"))?;
            writeln!(f)?;
        }
        if let Some(rollout) = &self.rollout {
            writeln!(f, "tasks during a rollout: {} agents, {} tasks/s\n", rollout.agents, rollout.rate)?;
            writeln!(f, "{:<12}{:>11}{:>11}{:>11}", "window", "completed", "p50", "p99")?;
            for window in &rollout.windows {
                let [p50, p99] =
                    [window.p50_ms, window.p99_ms].map(|ms| ms.map_or("-".to_owned(), |ms| format!("{ms:.0} ms")));
                writeln!(f, "{:<12}{:>11}{p50:>11}{p99:>11}", window.name, window.completed)?;
            }
            if let Some(ratio) = rollout.ratio {
                let kept = if ratio <= RATIO_MAX { "kept" } else { "NOT KEPT" };
                writeln!(f, "p99 during the rollout over before: {ratio:.2}, the goal of {RATIO_MAX} is {kept}")?;
            }
            rollout.violations.iter().try_for_each(|violation| writeln!(f, "VIOLATION  {violation}"))?;
        }
        Ok(())
    }
}
