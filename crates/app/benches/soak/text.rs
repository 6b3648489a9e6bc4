//! The report as a person reads it.

use std::fmt;

use crate::run::Outcome;

pub(crate) struct Report<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) violations: &'a [String],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { seed, agents, out, back, account, .. } = self.outcome;
        let tasks = account.tasks;
        writeln!(f, "{agents} agents, {} tasks in {:.0} s, seed {seed}\n", account.requests.total, account.seconds)?;
        let killed = &self.outcome.killed;
        writeln!(
            f,
            "killed     {} agents, the controller {} times, the gateway {} times",
            killed.agents, killed.controllers, killed.gateways
        )?;
        writeln!(f, "rollout    {} in {:.1} s, {} of {agents} agents on green", out.state, out.seconds, out.arrived)?;
        writeln!(f, "rollback   {} in {:.1} s, {} of {agents} agents on blue", back.state, back.seconds, back.arrived)?;
        writeln!(
            f,
            "tasks      {} accepted, {} completed, {} not completed, {} lost, {} accepted twice",
            tasks.submitted, tasks.completed, tasks.failed, tasks.lost, tasks.duplicated
        )?;
        let results = self.outcome.results;
        writeln!(
            f,
            "results    {} with text, {} with nothing in them, {} missing",
            results.with_text, results.empty, results.missing
        )?;
        writeln!(f, "requests   {} submissions, {} failed", account.requests.total, account.requests.failed)?;
        for (why, count) in &account.refusals {
            writeln!(f, "           {count} × {why}")?;
        }
        for (why, count) in &account.unanswered {
            writeln!(f, "           {count} × answer lost and asked for again under the same id: {why}")?;
        }
        writeln!(f, "\n{:<10}{:>10}", "attempts", "tasks")?;
        for (attempt, tasks) in &account.attempts {
            writeln!(f, "{attempt:<10}{tasks:>10}")?;
        }
        writeln!(
            f,
            "\n{:<12}{:>9}{:>11}{:>11}{:>11}{:>11}",
            "window", "seconds", "submitted", "completed", "p50", "p99"
        )?;
        for window in &account.windows {
            let [p50, p99] =
                [window.p50_ms, window.p99_ms].map(|ms| ms.map_or("-".to_owned(), |ms| format!("{ms:.0} ms")));
            let (name, seconds) = (&window.name, window.seconds);
            writeln!(f, "{name:<12}{seconds:>9.1}{:>11}{:>11}{p50:>11}{p99:>11}", window.submitted, window.completed)?;
        }
        for violation in self.violations {
            writeln!(f, "VIOLATION  {violation}")?;
        }
        writeln!(f, "{}", if self.violations.is_empty() { "passed" } else { "FAILED" })
    }
}
