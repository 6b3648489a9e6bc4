//! What submitters ask for: a task is taken in, shown, cancelled, queued again.

use bellwether_core::{
    time::Now,
    traffic::{End, Refusal, Submitted, TaskId},
};

use super::Writer;
use crate::{
    desk::{CancelAnswer, ReviveAnswer, Submission, SubmitAnswer},
    store::{Shown, StoreError},
};

impl Writer {
    pub(super) fn submit(&mut self, now: Now, submission: Submission) -> Result<SubmitAnswer, StoreError> {
        let Submission { task, is_fresh, body } = submission;
        if !is_fresh && let Some((agent, before)) = self.store.known(&task.id)? {
            return Ok(if before == body { SubmitAnswer::Known { agent } } else { SubmitAnswer::Conflict });
        }
        let mut changes = Vec::new();
        let submitted = self.traffic.submit(now, task, &mut changes);
        self.write(changes, &body)?;
        Ok(match submitted {
            Ok(Submitted::Queued { agent }) => SubmitAnswer::Queued { agent: agent.to_string() },
            Ok(Submitted::Known { agent }) => SubmitAnswer::Known { agent: agent.to_string() },
            Err(Refusal::Full { retry_after }) => SubmitAnswer::Full { retry_after },
            Err(refusal) => SubmitAnswer::NotFound(refusal.to_string()),
        })
    }

    pub(super) fn cancel(&mut self, now: Now, id: &TaskId) -> Result<CancelAnswer, StoreError> {
        let mut changes = Vec::new();
        self.traffic.cancel(now, id, &mut changes);
        self.write(changes, &[])?;
        Ok(match self.show(id)? {
            None => CancelAnswer::Unknown,
            Some(shown) if shown.state == End::Cancelled.as_str() => CancelAnswer::Cancelled(Box::new(shown)),
            Some(shown) => CancelAnswer::Ended(Box::new(shown)),
        })
    }

    pub(super) fn revive(&mut self, now: Now, id: &TaskId) -> Result<ReviveAnswer, StoreError> {
        if self.traffic.task(id).is_some() {
            return Ok(ReviveAnswer::NotEnded);
        }
        let (task, how) = match self.store.ended_task(id)? {
            None => return Ok(ReviveAnswer::Unknown),
            Some((_, End::Completed)) => return Ok(ReviveAnswer::Completed),
            Some(ended) => ended,
        };
        let mut changes = Vec::new();
        let revived = self.traffic.revive(now, task, &mut changes);
        self.write(changes, &[])?;
        Ok(match revived {
            Ok(Submitted::Queued { agent }) => {
                *self.counts.ended.of(how) -= 1;
                ReviveAnswer::Queued { agent: agent.to_string() }
            }
            Ok(Submitted::Known { .. }) => ReviveAnswer::NotEnded,
            Err(Refusal::Full { retry_after }) => ReviveAnswer::Full { retry_after },
            Err(refusal) => ReviveAnswer::NoAgent(refusal.to_string()),
        })
    }

    pub(super) fn show(&self, id: &TaskId) -> Result<Option<Shown>, StoreError> {
        let mut shown = self.store.shown(id)?;
        if let Some(shown) = &mut shown {
            shown.update(self.traffic.task(id));
        }
        Ok(shown)
    }
}
