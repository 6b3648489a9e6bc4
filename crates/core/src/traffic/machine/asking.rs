//! Questions for a task: answered at once, or kept open and answered when there is something.

use super::{
    super::{questions::Question, queue::Asker, roster::Enrolled, task::Granted},
    Change, Fence, InstanceId, Millis, Nanos, Now, Traffic,
};

impl Traffic {
    /// Keeps a question open that found nothing. False if that instance gets nothing ever.
    pub fn hold(&mut self, now: Now, instance: InstanceId, places: Option<u32>, hold: Millis) -> bool {
        let is_here = self.roster.get(instance).is_some_and(|known| !known.gone);
        if is_here {
            self.questions.open(instance, Question { asked: now.mono, until: now.mono + hold, places });
        }
        is_here
    }

    /// Answers questions that were kept open: those for which there is a task now, and those that have ended.
    /// `is_there` says whether somebody still waits for the answer.
    pub fn wake(
        &mut self,
        now: Now,
        is_there: impl Fn(InstanceId) -> bool,
        changes: &mut Vec<Change>,
    ) -> Vec<(InstanceId, Option<Granted>)> {
        let mut answers = Vec::new();
        let mut stirred: Vec<InstanceId> = Vec::new();
        for agent in self.queue.take_stirred() {
            stirred.extend(self.routes.get(&agent).active);
        }
        stirred.extend(self.tried_now(now.mono));
        stirred.extend(self.may_take_over(now.mono));
        for instance in stirred {
            let Some(question) = self.questions.get(instance) else { continue };
            if !is_there(instance) {
                self.questions.answered(instance);
            } else if let Some(granted) = self.find(now, instance, question.places, changes) {
                self.questions.answered(instance);
                answers.push((instance, Some(granted)));
            }
        }
        answers.extend(self.questions.take_closed(now.mono).into_iter().map(|instance| (instance, None)));
        answers
    }

    /// A task for who asks; a synthetic one first, because who has to answer that has no others.
    pub(super) fn find(
        &mut self,
        now: Now,
        instance: InstanceId,
        places: Option<u32>,
        changes: &mut Vec<Change>,
    ) -> Option<Granted> {
        let known = self.roster.get(instance).filter(|known| !known.gone)?;
        let asker = asker(known, self.fence_of(instance), places);
        if let Some(granted) = self.tryouts.next(now.mono, instance, asker.places, self.lease) {
            return Some(granted);
        }
        self.queue.next(now, &asker, changes)
    }

    /// Whose question waits for a synthetic task that is due.
    fn tried_now(&self, now: Nanos) -> Vec<InstanceId> {
        let is_due = |instance| self.tryouts.due(Nanos::default(), instance).is_some_and(|at| at <= now);
        self.questions.iter().map(|(instance, _)| instance).filter(|&instance| is_due(instance)).collect()
    }

    /// Whose question may be answered with a task that was drawn for another, who has waited longest first.
    fn may_take_over(&self, now: Nanos) -> Vec<InstanceId> {
        let mut idle: Vec<(Nanos, InstanceId)> = self
            .questions
            .iter()
            .filter(|&(instance, _)| {
                let known = self.roster.get(instance).filter(|_| self.fence_of(instance).is_some());
                let due = known.and_then(|known| self.queue.takeover_at(&known.card.agent_type));
                due.is_some_and(|due| due <= now)
            })
            .map(|(instance, question)| (question.asked, instance))
            .collect();
        idle.sort_unstable();
        idle.into_iter().map(|(_, instance)| instance).collect()
    }
}

pub(super) fn asker(known: &Enrolled, fence: Option<Fence>, places: Option<u32>) -> Asker<'_> {
    Asker {
        instance: known.card.instance,
        agent: &known.card.agent,
        agent_type: &known.card.agent_type,
        side: known.card.side,
        fence,
        places: places.unwrap_or(known.places),
    }
}
