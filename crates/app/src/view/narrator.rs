//! A rollout in plain lines: one line when something changes, for logs and pipes.

use bellwether_control::{edits::FleetEdit, types::Status};
use bellwether_core::{analysis::Verdict, id::Side, rollout::RolloutView, time::Millis};

use super::{
    rollback::{times, undone},
    words::{stage, trigger},
};
use crate::wording::{counted, some};

#[derive(Default)]
pub(crate) struct Narrator {
    stage: String,
    judged: usize,
    /// Triggers of the rollback that were told.
    blamed: usize,
    /// Parts that were told to go back, and to be back.
    parts: usize,
    parts_back: usize,
    timed: bool,
    /// What was told of the fleet file.
    edit: Option<FleetEdit>,
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
            let of = |verdict| {
                let ids = report.judgements.iter().filter(|judgement| judgement.verdict == verdict);
                ids.map(|judgement| judgement.id.as_str()).collect::<Vec<_>>().join(", ")
            };
            let verdict = match report.verdict() {
                Verdict::Pass => "pass".to_owned(),
                Verdict::Fail => format!("fail ({})", of(Verdict::Fail)),
                Verdict::Inconclusive => format!("cannot tell yet ({})", of(Verdict::Inconclusive)),
            };
            said.push(format!("{stamp} {name}: judged: {verdict}"));
        }
        self.judged = judged.len();
        said.extend(self.undoing(rollout).into_iter().map(|line| format!("{stamp} {line}")));
        if status.edit != self.edit {
            let under_way = (!rollout.state.is_over()).then_some(rollout.id);
            let edit = status.edit.as_ref().map(|edit| edit.sentence(under_way));
            said.push(format!("{stamp} {}", edit.unwrap_or_else(|| "the fleet file is what runs again".to_owned())));
            self.edit.clone_from(&status.edit);
        }
        let now = stage(rollout);
        if now != self.stage {
            let agents = &status.controller.agents;
            let green = agents.iter().filter(|agent| agent.serving == Some(Side::Green)).count();
            said.push(format!("{stamp} {now} · {green} of {} on green", agents.len()));
            self.stage = now;
        }
        if let Some(record) = rollout.rollback.as_ref().filter(|_| rollout.state.is_over() && !self.timed) {
            self.timed = true;
            said.extend(undone(record).into_iter().map(|line| format!("{stamp} {line}")));
        }
        said
    }

    /// What fired, as it fires, and the parts that go back while the rest goes on.
    fn undoing(&mut self, rollout: &RolloutView) -> Vec<String> {
        let mut said = Vec::new();
        for part in rollout.retreats.iter().skip(self.parts) {
            let names = some(part.agents.iter().map(|agent| agent.as_str()), 4);
            let count = counted(part.agents.len(), "agent is", "agents are");
            said.push(format!("{count} held on blue from here on ({names}): {}", trigger(&part.record.trigger)));
        }
        self.parts = rollout.retreats.len();
        let back: Vec<_> = rollout.retreats.iter().take_while(|part| !part.is_under_way()).collect();
        for part in back.iter().skip(self.parts_back) {
            let names = some(part.agents.iter().map(|agent| agent.as_str()), 4);
            said.push(format!("on validated blue again: {names}; {}", times(&part.record)));
        }
        self.parts_back = back.len();
        if let Some(rollback) = &rollout.rollback {
            let all: Vec<_> = std::iter::once(&rollback.trigger).chain(&rollback.also).collect();
            for (at, one) in all.iter().enumerate().skip(self.blamed) {
                let what = if at == 0 { "rolling back" } else { "while rolling back" };
                said.push(format!("{what}: {}", trigger(one)));
            }
            self.blamed = all.len();
        }
        said
    }
}
