//! The report as a person reads it.

use std::fmt;

use crate::run::Outcome;

pub(crate) struct Report<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) violations: &'a [String],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { seed, agents, rounds, rolled, pushes, calls, account, .. } = self.outcome;
        writeln!(f, "{agents} agents, {} rounds in {:.0} s, seed {seed}\n", rounds.len(), account.seconds)?;
        writeln!(
            f,
            "{:<11}{:>7}{:>12}{:>10}{:>10}{:>11}{:>8}{:>9}{:>14}",
            "killed", "rounds", "boundaries", "back p50", "max", "in flight", "failed", "refused", "answers lost"
        )?;
        for sum in self.outcome.sums() {
            let [p50, max] = [sum.back_p50_ms, sum.back_max_ms].map(|ms| format!("{ms:.0} ms"));
            writeln!(
                f,
                "{:<11}{:>7}{:>12}{p50:>10}{max:>10}{:>11}{:>8}{:>9}{:>14}",
                sum.victim.to_string(),
                sum.rounds,
                sum.boundaries,
                sum.in_flight,
                sum.failed,
                sum.refused,
                sum.answers_lost
            )?;
        }
        let tasks = account.tasks;
        writeln!(
            f,
            "\nrollouts   {} taken back midway, {} from their end, {} without a baseline, {} otherwise",
            rolled.back_from_midway,
            rolled.back_from_the_end,
            rolled.without_baseline,
            rolled.otherwise.len()
        )?;
        writeln!(
            f,
            "tasks      {} accepted, {} completed, {} failed, {} lost, {} accepted twice",
            tasks.submitted, tasks.completed, tasks.failed, tasks.lost, tasks.duplicated
        )?;
        writeln!(
            f,
            "requests   {pushes} pushed, {calls} model calls, {} failed that no kill accounts for",
            self.outcome.unaccounted.len()
        )?;
        for one in self.outcome.unaccounted_shown() {
            writeln!(f, "           {one}")?;
        }
        writeln!(f, "agents     {} ended although nobody asked", self.outcome.ended_unasked)?;
        for violation in self.violations {
            writeln!(f, "VIOLATION  {violation}")?;
        }
        writeln!(f, "{}", if self.violations.is_empty() { "passed" } else { "FAILED" })
    }
}
