//! What the books say, for programs and for people.

use std::{collections::BTreeMap, fmt};

use bellwether_core::histogram::Histogram;
use serde::Serialize;

/// Submissions as HTTP requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Requests {
    pub(crate) total: u64,
    /// Refused, broken off, without an answer, or never sent because too many were under way.
    pub(crate) failed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TaskCounts {
    /// Accepted by the gateway. The sum of completed, failed and lost.
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    /// Tasks of which more than one completion was accepted.
    pub(crate) duplicated: u64,
    /// Tasks that were done although their submission failed for the client.
    pub(crate) unacknowledged: u64,
}

/// Requests for completions. A failed one delays the books and loses nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Polls {
    pub(crate) total: u64,
    pub(crate) failed: u64,
}

/// From when a submission was due to when its completion was seen, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

impl Latency {
    pub(crate) fn of(micros: &Histogram) -> Self {
        let millis = |q| micros.quantile(q).map(|micros| micros / 1e3);
        Self { p50_ms: millis(0.5), p95_ms: millis(0.95), p99_ms: millis(0.99) }
    }
}

/// The books in the middle of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Account {
    pub(crate) seconds: f64,
    pub(crate) requests: Requests,
    /// Nothing is lost before the end.
    pub(crate) tasks: TaskCounts,
    pub(crate) open: u64,
    pub(crate) reattempted: u64,
    /// The open window, and the latency in it.
    pub(crate) window: String,
    pub(crate) latency: Latency,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// What the ids of the run's tasks begin with; a number from 0 follows.
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) requests: Requests,
    pub(crate) tasks: TaskCounts,
    /// Tasks whose accepted completion was not of the first attempt.
    pub(crate) reattempted: u64,
    /// Tasks by the attempt of their accepted completion.
    pub(crate) attempts: BTreeMap<u32, u64>,
    pub(crate) latency: Latency,
    pub(crate) polls: Polls,
    /// Failed submissions by cause.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Answers that were lost, by cause; each submission was made again under its id.
    pub(crate) unanswered: BTreeMap<String, u64>,
    /// Some of the lost, to ask the gateway about.
    pub(crate) lost_ids: Vec<String>,
    pub(crate) windows: Vec<WindowReport>,
}

/// A stretch of the run. Submissions count where they were made, completions where they were seen.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct WindowReport {
    pub(crate) name: String,
    pub(crate) seconds: f64,
    pub(crate) requests: Requests,
    /// Answers that were lost; each submission was made again under its id.
    pub(crate) unanswered: u64,
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// In microseconds.
    #[serde(skip)]
    pub(crate) latency: Histogram,
}

impl Report {
    /// No request failed, no task lost, none accepted twice. Tasks that an agent reported as failed are
    /// the agent's affair.
    pub(crate) fn is_clean(&self) -> bool {
        self.requests.failed == 0 && self.tasks.lost == 0 && self.tasks.duplicated == 0
    }

    /// Tasks that took longer than `factor` times the p95 of the named window, of those closed after it. Where
    /// that window measured nothing, none can be called fast enough.
    pub(crate) fn slower_than(&self, window: &str, factor: f64) -> u64 {
        let at = self.windows.iter().position(|known| known.name == window);
        let limit = at.and_then(|at| self.windows[at].latency.quantile(0.95)).map_or(0.0, |p95| p95 * factor);
        let after = &self.windows[at.map_or(0, |at| at + 1)..];
        after
            .iter()
            .flat_map(|window| window.latency.iter())
            .filter(|(micros, _)| *micros > limit)
            .map(|(_, n)| n)
            .sum()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, requests, tasks, open, latency, .. } = self;
        write!(
            f,
            "{seconds:>6.0} s  {} requests, {} failed  {} completed, {} failed, {open} open  p95 {}",
            requests.total,
            requests.failed,
            tasks.completed,
            tasks.failed,
            Ms(latency.p95_ms)
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, requests, tasks, latency, .. } = self;
        writeln!(f, "requests  {} in {seconds:.1} s, {} failed", requests.total, requests.failed)?;
        for (why, count) in &self.refusals {
            writeln!(f, "          {count} × {why}")?;
        }
        for (why, count) in &self.unanswered {
            writeln!(f, "          {count} × submitted again: {why}")?;
        }
        writeln!(
            f,
            "tasks     {} submitted, {} completed, {} failed, {} lost, {} accepted twice, {} after more than one attempt",
            tasks.submitted, tasks.completed, tasks.failed, tasks.lost, tasks.duplicated, self.reattempted
        )?;
        if tasks.unacknowledged > 0 {
            writeln!(f, "          {} done although their submission failed", tasks.unacknowledged)?;
        }
        for id in &self.lost_ids {
            writeln!(f, "          lost: {id}")?;
        }
        let Latency { p50_ms, p95_ms, p99_ms } = *latency;
        writeln!(f, "latency   p50 {}, p95 {}, p99 {}", Ms(p50_ms), Ms(p95_ms), Ms(p99_ms))?;
        if self.polls.failed > 0 {
            writeln!(f, "polls     {} of {} for completions failed", self.polls.failed, self.polls.total)?;
        }
        writeln!(
            f,
            "\n{:<16}{:>9}{:>11}{:>11}{:>8}{:>10}{:>10}",
            "window", "seconds", "submitted", "completed", "failed", "p50", "p95"
        )?;
        for window in &self.windows {
            let WindowReport { name, seconds, submitted, completed, failed, p50_ms, p95_ms, .. } = window;
            let (p50, p95) = (Ms(*p50_ms).to_string(), Ms(*p95_ms).to_string());
            writeln!(f, "{name:<16}{seconds:>9.1}{submitted:>11}{completed:>11}{failed:>8}{p50:>10}{p95:>10}")?;
        }
        Ok(())
    }
}

struct Ms(Option<f64>);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ms) if ms < 10_000.0 => write!(f, "{ms:.0} ms"),
            Some(ms) => write!(f, "{:.1} s", ms / 1e3),
            None => f.write_str("-"),
        }
    }
}
