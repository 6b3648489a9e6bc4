//! Tasks of the user's own backend: they become ours before anybody gets them, and their ends go back to it.

use bellwether_core::{
    id::InstanceId,
    spec::TaskMode,
    time::{Now, UnixMillis},
    traffic::{self, Addressee, Change, End, Task, TaskId},
};
use hyper::Method;
use serde_json::json;

use super::Writer;
use crate::{
    desk::TakenIn,
    store::{Letter, StoreError},
};

/// Where reports go in the seed's protocol.
const COMPLETE: &str = "/api/tasks/complete";

impl Writer {
    /// Stored and, if its asker is still there, leased in one transaction.
    pub(super) fn take_in(
        &mut self,
        now: Now,
        instance: InstanceId,
        id: TaskId,
        body: &[u8],
    ) -> Result<TakenIn, StoreError> {
        if self.traffic.task(&id).is_some() {
            return Ok(TakenIn::Live);
        }
        if self.store.archived(&id)?.is_some() {
            self.posted |= self.store.post_again(&id, now.wall)?;
            return Ok(TakenIn::Ended);
        }
        let mut changes = Vec::new();
        let bytes = body.len() as u64;
        if let Some(asker) = self.asking.remove(&instance).filter(|asker| !asker.is_closed()) {
            let granted = self.traffic.take_in(now, instance, id.clone(), bytes, &mut changes);
            self.write(changes, body)?;
            let taken_in = if granted.is_some() { TakenIn::HandedOut } else { TakenIn::Refused };
            self.hand_out(asker, instance, granted)?;
            return Ok(taken_in);
        }
        // Whoever asked for it left or was relieved in the meantime.
        let Some(agent) = self.board.table.load().instance(instance).map(|target| target.card.agent.clone()) else {
            return Ok(TakenIn::Refused);
        };
        let submission =
            traffic::Submission { bytes, ..traffic::Submission::new(id, Addressee::Agent(agent), u64::MAX) };
        let submitted = self.traffic.submit(now, submission, &mut changes);
        self.write(changes, body)?;
        Ok(if submitted.is_ok() { TakenIn::Queued } else { TakenIn::Refused })
    }

    pub(super) fn post(&mut self, at: UnixMillis, id: &TaskId, letter: &Letter) -> Result<(), StoreError> {
        self.store.post(id, letter, at)?;
        self.posted = true;
        Ok(())
    }

    /// The backend waits for the end of each of its tasks, also where no agent reported one.
    pub(super) fn report_ends(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if self.policy.mode != TaskMode::Relay {
            return Ok(());
        }
        for change in changes {
            if let Change::Finished { task, at, how, by: None, .. } = change {
                self.post(*at, &task.id, &given_up(task, *how))?;
            }
        }
        Ok(())
    }
}

fn given_up(task: &Task, how: End) -> Letter {
    let why = match how {
        End::Cancelled => "it was cancelled",
        End::Expired => "it was not begun in time",
        End::Completed | End::Failed => "its attempts were used up",
    };
    let report = json!({
        "task_id": task.id.as_str(),
        "agent_name": task.agent.as_str(),
        "status": "failed",
        "result": null,
        "error": why,
        "attempt": task.attempts,
    });
    Letter { method: Method::POST, path: COMPLETE.to_owned(), body: report.to_string().into_bytes() }
}
