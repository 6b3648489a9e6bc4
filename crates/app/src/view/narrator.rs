//! A rollout in plain lines: one line when something changes, for logs and pipes.

use bellwether_control::types::Status;
use bellwether_core::{analysis::Verdict, id::Side, time::Millis};

use super::words::{stage, trigger};

#[derive(Default)]
pub(crate) struct Narrator {
    stage: String,
    judged: usize,
    blamed: bool,
}

impl Narrator {
    /// What is worth saying since the last call.
    pub(crate) fn tell(&mut self, status: &Status, elapsed: Millis) -> Vec<String> {
        let Some(rollout) = &status.controller.rollout else { return Vec::new() };
        let mut said = Vec::new();
        let stamp = format!("[{:>6.1}s]", elapsed.as_secs_f64());
        let reports = rollout.phases.iter().filter_map(|p| p.record.as_ref()).chain(&rollout.validation);
        let judged: Vec<_> = reports.filter_map(|record| Some((&record.name, record.report.as_ref()?))).collect();
        for (name, report) in judged.iter().skip(self.judged) {
            let verdict = match report.verdict() {
                Verdict::Pass => "pass",
                Verdict::Fail => "fail",
                Verdict::Inconclusive => "cannot tell yet",
            };
            let open = report.judgements.iter().filter(|j| j.verdict != Verdict::Pass).map(|j| j.id.as_str());
            let open = open.collect::<Vec<_>>().join(", ");
            let open = if open.is_empty() { String::new() } else { format!(" (not passed: {open})") };
            said.push(format!("{stamp} {name}: judged: {verdict}{open}"));
        }
        self.judged = judged.len();
        if let Some(rollback) = rollout.rollback.as_ref().filter(|_| !self.blamed) {
            self.blamed = true;
            said.push(format!("{stamp} rolling back: {}", trigger(&rollback.trigger)));
        }
        let now = stage(rollout);
        if now != self.stage {
            let agents = &status.controller.agents;
            let green = agents.iter().filter(|agent| agent.serving == Some(Side::Green)).count();
            said.push(format!("{stamp} {now} · {green} of {} on green", agents.len()));
            self.stage = now;
        }
        said
    }
}
