//! What each question does to the machine and the store. Answers are kept back until the commit.

use std::sync::Arc;

use bellwether_core::{
    id::InstanceId,
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayEvent, GatewayIntent, GatewayView, InstanceView},
    time::{Millis, Now},
    traffic::{Completion, Granted, Refusal, Report, RouteError, State, Submitted, TaskId, Told, Traffic},
};
use serde_json::{Map, Value};

use super::{Awaited, Writer};
use crate::{
    desk::{Ask, HandedOut, Live, Shown, Submission, SubmitAnswer, Tell},
    store::StoreError,
    target::Target,
};

/// Characters of an agent's own words that a fault is told with.
const FAULT_CHARS: usize = 300;

/// Who asked may have stopped waiting; the answer then has no reader.
pub(super) fn tell<T>(tell: Tell<T>, answer: T) {
    drop(tell.send(answer));
}

impl Writer {
    pub(super) fn answer(&mut self, now: Now, ask: Ask) -> Result<(), StoreError> {
        match ask {
            Ask::Submit(submission, tell) => {
                let answer = self.submit(now, submission)?;
                self.reply(tell, answer);
            }
            Ask::Places { instance, places, tell } => {
                let mut changes = Vec::new();
                self.traffic.set_places(instance, places, &mut changes);
                self.write(changes, &[])?;
                self.reply(tell, ());
            }
            Ask::Next { instance, places, hold, tell } => self.next(now, instance, places, hold, tell)?,
            Ask::Complete { id, by, told, result, tell } => {
                let is_here = self.traffic.task(&id).is_some() || Traffic::is_try_out(&id);
                let archived = if is_here { None } else { self.store.archived(&id)? };
                let mut changes = Vec::new();
                let completion = self.traffic.complete(now, &id, by, told, archived, &mut changes);
                self.write(changes, &result)?;
                if completion == Completion::TriedOut {
                    self.tried_out(by, fault_of(told, &result));
                }
                self.reply(tell, completion);
            }
            Ask::Progress { id, by, attempt, checkpoint, tell } => {
                let mut changes = Vec::new();
                let progress = self.traffic.progress(now, &id, by, attempt, checkpoint.is_some(), &mut changes);
                self.write(changes, checkpoint.as_deref().unwrap_or_default())?;
                self.reply(tell, progress);
            }
            Ask::Renew { id, by } => self.traffic.renew(now.mono, &id, by),
            Ask::Show { id, wait, tell } => match self.show(&id)? {
                Some(Shown::Live(_)) if wait => self.ends_awaited.entry(id).or_default().push(tell),
                shown => self.reply(tell, shown),
            },
            Ask::Counts(tell) => {
                self.count();
                self.reply(tell, self.counts);
            }
            Ask::Completions { after, limit, wait, tell } => {
                let found = self.store.completions(after, limit)?;
                if found.is_empty() && wait {
                    self.completions_awaited.push(Awaited { after, limit, tell });
                } else {
                    self.reply(tell, found);
                }
            }
            Ask::Intent(intent, tell) => {
                let answer = self.intent(now, intent)?;
                self.reply(tell, answer);
            }
            Ask::Spool(seconds, tell) => {
                let numbered = self.spool(seconds)?;
                self.reply(tell, numbered);
            }
        }
        Ok(())
    }

    fn reply<T: Send + 'static>(&mut self, to: Tell<T>, answer: T) {
        self.replies.push(Box::new(move || {
            tell(to, answer);
            None
        }));
    }

    /// A task that nobody takes from our hands is not handed out.
    fn hand_out(
        &mut self,
        to: Tell<Option<HandedOut>>,
        instance: InstanceId,
        granted: Option<Granted>,
    ) -> Result<(), StoreError> {
        let handed_out = match granted {
            Some(granted) => Some(HandedOut { body: self.body_for(instance, &granted)?, granted }),
            None => None,
        };
        self.replies.push(Box::new(move || {
            let refused = to.send(handed_out).err().flatten()?;
            Some((instance, refused.granted))
        }));
        Ok(())
    }

    fn body_for(&self, instance: InstanceId, granted: &Granted) -> Result<Vec<u8>, StoreError> {
        if !Traffic::is_try_out(&granted.id) {
            return self.store.body(&granted.id);
        }
        let mut fields = Map::new();
        fields.insert("id".to_owned(), granted.id.as_str().into());
        fields.insert("synthetic".to_owned(), true.into());
        let given = self.tryouts.get(&instance).into_iter().flatten();
        fields.extend(given.map(|(name, text)| (name.clone(), text.as_str().into())));
        Ok(Value::Object(fields).to_string().into_bytes())
    }

    fn next(
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

    fn tried_out(&mut self, instance: InstanceId, fault: Option<String>) {
        let board = self.board.clone();
        self.replies.push(Box::new(move || {
            board.tell(GatewayEvent::TriedOut { instance, fault });
            None
        }));
    }

    fn submit(&mut self, now: Now, submission: Submission) -> Result<SubmitAnswer, StoreError> {
        let Submission { task, body } = submission;
        let id = task.id.clone();
        if self.traffic.task(&id).is_none()
            && let Some(agent) = self.store.ended_for(&id)?
        {
            return Ok(SubmitAnswer::Known { agent });
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

    pub(super) fn show(&self, id: &TaskId) -> Result<Option<Shown>, StoreError> {
        let Some(task) = self.traffic.task(id) else {
            return Ok(self.store.ended(id)?.map(|ended| Shown::Ended(Box::new(ended))));
        };
        let (state, served) = match &task.state {
            State::Delayed { .. } => ("delayed", None),
            State::Queued { .. } => ("queued", None),
            State::Leased(lease) => ("leased", Some(lease.side)),
        };
        Ok(Some(Shown::Live(Live {
            id: id.to_string(),
            agent: task.agent.to_string(),
            agent_type: task.agent_type.to_string(),
            state,
            attempts: task.attempts,
            drawn: task.draw.map(|draw| draw.side),
            chance: task.draw.map(|draw| draw.chance),
            served,
            submitted_ms: task.submitted.0,
        })))
    }

    fn intent(&mut self, now: Now, intent: GatewayIntent) -> Result<GatewayAnswer, StoreError> {
        let mut changes = Vec::new();
        let refusal = match intent {
            GatewayIntent::Enrol { cards } => {
                self.traffic.enrol(cards, &mut changes).err().map(|refusal| refusal.to_string())
            }
            GatewayIntent::CutOver { generation, moves, drain, revoke } => {
                match self.traffic.cut_over(now, generation, &moves, drain, revoke, &mut changes) {
                    Ok(_) => None,
                    Err(RouteError::Stale { standing }) => return Ok(GatewayAnswer::Stale { standing }),
                    Err(error) => Some(error.to_string()),
                }
            }
            GatewayIntent::Retire { instances } => {
                instances.iter().for_each(|instance| drop(self.tryouts.remove(instance)));
                self.traffic.retire(now, &instances, &mut changes);
                None
            }
            GatewayIntent::Settle { instances } => {
                self.traffic.settle(&instances, &mut changes);
                None
            }
            GatewayIntent::Lost { instance, asked } => match self.traffic.lost(now, instance, asked, &mut changes) {
                // What is not known any more was forgotten after it was lost.
                Ok(()) | Err(Refusal::Unknown(_)) => None,
                Err(refusal) => Some(refusal.to_string()),
            },
            GatewayIntent::TryOut { instance, fields } => match self.traffic.try_out(instance) {
                Ok(passed) => {
                    self.tryouts.insert(instance, fields);
                    if passed {
                        self.tried_out(instance, None);
                    }
                    None
                }
                Err(refusal) => Some(refusal.to_string()),
            },
            GatewayIntent::Observe => return Ok(GatewayAnswer::Observed(Box::new(self.observe()))),
            GatewayIntent::Seconds { after } => {
                let records = self.store.seconds(after)?;
                return Ok(GatewayAnswer::Seconds { records, last: self.last_second });
            }
        };
        self.write(changes, &[])?;
        Ok(match refusal {
            Some(reason) => GatewayAnswer::Refused { reason },
            None => GatewayAnswer::Done { generation: self.traffic.generation() },
        })
    }

    fn observe(&self) -> GatewayView {
        let table = self.board.table.load();
        let view = |target: &Arc<Target>| {
            let tried = self.traffic.tried_out(target.card.instance);
            InstanceView { tried, ..target.view() }
        };
        let mut instances: Vec<_> = table.instances().map(view).collect();
        instances.sort_by_key(|view| view.instance);
        GatewayView {
            generation: self.traffic.generation(),
            routes: self.traffic.route_views(),
            instances,
            last_second: self.last_second,
        }
    }

    fn spool(&mut self, seconds: Vec<Second>) -> Result<Vec<Second>, StoreError> {
        let mut numbered = Vec::with_capacity(seconds.len());
        for mut second in seconds {
            self.last_second += 1;
            second.number = self.last_second;
            self.store.spool(&second)?;
            numbered.push(second);
        }
        Ok(numbered)
    }
}

/// What was wrong with the answer to a synthetic task.
fn fault_of(told: Told, result: &[u8]) -> Option<String> {
    match told.report {
        Report::Completed { empty: false } => None,
        Report::Completed { empty: true } => Some("its result carries less than it must".to_owned()),
        Report::Failed => {
            let text = String::from_utf8_lossy(result);
            let said = serde_json::from_str(&text).unwrap_or_else(|_not_json| Value::from(text.as_ref()));
            let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
            Some(format!("it reported a failure: {}", said.chars().take(FAULT_CHARS).collect::<String>()))
        }
    }
}
