//! What agents ask of the machine: a task, a word on one that they hold, its end, and leave to go.

use std::collections::BTreeMap;

use bellwether_core::{
    id::InstanceId,
    port::gateway::GatewayEvent,
    time::{Millis, Now},
    traffic::{Change, Completion, Granted, Progress, Report, TaskId, Told, Traffic},
};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use super::Writer;
use crate::{
    desk::{Account, HandedOut, Tell},
    said,
    store::StoreError,
};

/// Characters of an agent's own words that a fault is told with.
const FAULT_CHARS: usize = 300;

impl Writer {
    pub(super) fn next(
        &mut self,
        now: Now,
        instance: InstanceId,
        places: Option<u32>,
        hold: Millis,
        to: Tell<Option<HandedOut>>,
    ) -> Result<(), StoreError> {
        // The newer question stands for the older: its asker may have given up and come back.
        if let Some(older) = self.asking.remove(&instance) {
            self.reply(older, None);
        }
        let mut changes = Vec::new();
        let granted = self.traffic.next(now, instance, places, &mut changes);
        self.write(changes, &[])?;
        if granted.is_none() && hold > Millis::ZERO && self.traffic.hold(now, instance, places, hold) {
            self.asking.insert(instance, to);
            return Ok(());
        }
        self.hand_out(to, instance, granted)
    }

    /// Answers the questions that were kept open and need be no longer.
    pub(super) fn wake(&mut self, now: Now) -> Result<(), StoreError> {
        let mut changes = Vec::new();
        let is_there = |instance| self.asking.get(&instance).is_some_and(|tell| !tell.is_closed());
        let answers = self.traffic.wake(now, is_there, &mut changes);
        self.write(changes, &[])?;
        for (instance, granted) in answers {
            if let Some(to) = self.asking.remove(&instance) {
                self.hand_out(to, instance, granted)?;
            }
        }
        Ok(())
    }

    pub(super) fn complete(
        &mut self,
        now: Now,
        id: &TaskId,
        by: InstanceId,
        account: Account,
    ) -> Result<Completion, StoreError> {
        let Account { told, result, checkpoint, letter } = account;
        let is_here = self.traffic.task(id).is_some() || Traffic::is_try_out(id);
        let archived = if is_here { None } else { self.store.archived(id)? };
        let mut changes = Vec::new();
        let completion = self.traffic.complete(now, id, by, told, archived, &mut changes);
        match completion {
            Completion::TriedOut => self.tried_out(by, fault_of(told, &result)),
            Completion::Accepted { .. } | Completion::Retried => {
                if let Some(checkpoint) = checkpoint.filter(|_| told.report == Report::Failed) {
                    self.write(vec![Change::Checkpoint { id: id.clone() }], &checkpoint)?;
                }
            }
            Completion::Repeated | Completion::Conflict | Completion::Unknown => {}
        }
        self.write(changes, &result)?;
        if let (Completion::Accepted { .. }, Some(letter)) = (completion, letter) {
            self.post(now.wall, id, &letter)?;
        }
        Ok(completion)
    }

    pub(super) fn progress(
        &mut self,
        now: Now,
        id: &TaskId,
        by: InstanceId,
        attempt: Option<u32>,
        checkpoint: Option<Vec<u8>>,
    ) -> Result<Progress, StoreError> {
        if Traffic::is_try_out(id) {
            // Nothing is kept of a synthetic task.
            return Ok(if self.tryouts.contains_key(&by) { Progress::Renewed } else { Progress::Unknown });
        }
        let mut changes = Vec::new();
        let progress = self.traffic.progress(now, id, by, attempt, checkpoint.is_some(), &mut changes);
        self.write(changes, checkpoint.as_deref().unwrap_or_default())?;
        if progress == Progress::Unknown && self.store.archived(id)?.is_some() {
            return Ok(Progress::Conflict);
        }
        Ok(progress)
    }

    /// Whether the instance may have a fresh task beside what it holds.
    pub(super) fn has_room(&self, instance: InstanceId, places: Option<u32>) -> bool {
        let known = self.traffic.instances().find(|(id, _)| **id == instance);
        let places = places.or(known.map(|(_, enrolled)| enrolled.places)).unwrap_or(1);
        self.traffic.fence_of(instance).is_some() && self.traffic.held_by(instance).len() < places as usize
    }

    pub(super) fn tried_out(&mut self, instance: InstanceId, fault: Option<String>) {
        let board = self.board.clone();
        self.replies.push(Box::new(move || board.tell(GatewayEvent::TriedOut { instance, fault })));
    }

    fn handed_out(&self, to: InstanceId, granted: Granted) -> Result<HandedOut, StoreError> {
        let body = self.body_for(to, &granted)?;
        Ok(HandedOut::new(to, granted, body, self.way_back.clone()))
    }

    /// A task that nobody takes from our hands is not handed out.
    pub(super) fn hand_out(
        &mut self,
        to: Tell<Option<HandedOut>>,
        instance: InstanceId,
        granted: Option<Granted>,
    ) -> Result<(), StoreError> {
        let handed_out = granted.map(|granted| self.handed_out(instance, granted)).transpose()?;
        self.reply(to, handed_out);
        Ok(())
    }

    fn body_for(&self, instance: InstanceId, granted: &Granted) -> Result<Vec<u8>, StoreError> {
        if !Traffic::is_try_out(&granted.id) {
            let (body, checkpoint) = self.store.content(&granted.id)?;
            return Ok(match checkpoint {
                Some(checkpoint) => with_checkpoint(&body, checkpoint).unwrap_or(body),
                None => body,
            });
        }
        let mut fields = Map::new();
        fields.insert("id".to_owned(), granted.id.as_str().into());
        fields.insert("synthetic".to_owned(), true.into());
        let given = self.tryouts.get(&instance).into_iter().flatten();
        fields.extend(given.map(|(name, text)| (name.clone(), text.as_str().into())));
        Ok(Value::Object(fields).to_string().into_bytes())
    }
}

/// The fields of the task as they were written, and what the attempt before came to.
fn with_checkpoint(body: &[u8], checkpoint: Vec<u8>) -> Option<Vec<u8>> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(body).ok()?;
    let checkpoint = String::from_utf8(checkpoint).ok()?;
    fields.insert("checkpoint".to_owned(), RawValue::from_string(checkpoint).ok()?);
    Some(to_raw_value(&fields).ok()?.get().as_bytes().to_vec())
}

/// What was wrong with the answer to a synthetic task.
fn fault_of(told: Told, result: &[u8]) -> Option<String> {
    match told.report {
        Report::Completed { empty: false } => None,
        Report::Completed { empty: true } => Some("its result carries less than it must".to_owned()),
        Report::Failed => Some(format!("it reported a failure: {}", said::text(result, FAULT_CHARS))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_goes_along_with_what_the_submitter_wrote_and_stands_above_it() {
        let with = |body: &str| String::from_utf8(with_checkpoint(body.as_bytes(), b"{\"n\":1.50}".to_vec()).unwrap());
        assert_eq!(with(r#"{"id":"t","p":1.10}"#).unwrap(), r#"{"checkpoint":{"n":1.50},"id":"t","p":1.10}"#);
        assert_eq!(with(r#"{"checkpoint":7,"id":"t"}"#).unwrap(), r#"{"checkpoint":{"n":1.50},"id":"t"}"#);
    }
}
