//! Questions for a task that are held open while there is none: at most one of each instance.

use std::collections::{BTreeMap, BTreeSet};

use crate::{id::InstanceId, time::Nanos};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) asked: Nanos,
    pub(super) until: Nanos,
    /// What the instance said with the question.
    pub(super) places: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Questions {
    open: BTreeMap<InstanceId, Question>,
    ends: BTreeSet<(Nanos, InstanceId)>,
    /// To be answered with nothing.
    closed: Vec<InstanceId>,
}

impl Questions {
    pub(super) fn open(&mut self, instance: InstanceId, question: Question) {
        self.answered(instance);
        self.open.insert(instance, question);
        self.ends.insert((question.until, instance));
    }

    pub(super) fn get(&self, instance: InstanceId) -> Option<Question> {
        self.open.get(&instance).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (InstanceId, Question)> {
        self.open.iter().map(|(&instance, &question)| (instance, question))
    }

    /// It is over, and who asked knows.
    pub(super) fn answered(&mut self, instance: InstanceId) {
        if let Some(question) = self.open.remove(&instance) {
            self.ends.remove(&(question.until, instance));
        }
    }

    /// It is over, and who asked has to be told.
    pub(super) fn close(&mut self, instance: InstanceId) {
        if self.open.contains_key(&instance) {
            self.answered(instance);
            self.closed.push(instance);
        }
    }

    /// Whom to tell that there is nothing.
    pub(super) fn take_closed(&mut self, now: Nanos) -> Vec<InstanceId> {
        while let Some(&(until, instance)) = self.ends.first()
            && until <= now
        {
            self.close(instance);
        }
        std::mem::take(&mut self.closed)
    }

    pub(super) fn next_timeout(&self) -> Option<Nanos> {
        self.ends.first().map(|&(until, _)| until)
    }
}
