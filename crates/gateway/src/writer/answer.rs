//! What each question does to the machine and the store. Answers are kept back until the commit.

use bellwether_core::{
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayIntent, GatewayView},
    time::Now,
    traffic::{self, Completion, Refusal, RouteError, State, Submitted, TaskId},
};

use super::{Awaited, Writer};
use crate::{
    desk::{Ask, HandedOut, Live, Shown, Submission, SubmitAnswer, Tell},
    store::StoreError,
};

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
            Ask::Next { instance, places, tell } => {
                let mut changes = Vec::new();
                let granted = self.traffic.next(now, instance, places, &mut changes);
                self.write(changes, &[])?;
                let handed_out = match granted {
                    Some(granted) => Some(HandedOut { body: self.store.body(&granted.id)?, granted }),
                    None => None,
                };
                self.reply(tell, handed_out);
            }
            Ask::Complete { id, by, report, result, tell } => {
                let archived = if self.traffic.task(&id).is_none() { self.store.archived(&id)? } else { None };
                let mut changes = Vec::new();
                let completion: Completion = self.traffic.complete(now, &id, by, report, archived, &mut changes);
                self.write(changes, &result)?;
                self.reply(tell, completion);
            }
            Ask::Renew { id, by } => self.traffic.renew(now.mono, &id, by),
            Ask::Show { id, wait, tell } => match self.show(&id)? {
                Some(Shown::Live(_)) if wait => self.ends_awaited.entry(id).or_default().push(tell),
                shown => self.reply(tell, shown),
            },
            Ask::Counts(tell) => {
                let counts =
                    crate::desk::Counts { queued: self.traffic.queued(), leased: self.traffic.leased(), ..self.counts };
                self.reply(tell, counts);
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
        self.replies.push(Box::new(move || tell(to, answer)));
    }

    fn submit(&mut self, now: Now, submission: Submission) -> Result<SubmitAnswer, StoreError> {
        let Submission { id, to, body, chance } = submission;
        if self.traffic.task(&id).is_none()
            && let Some(agent) = self.store.ended_for(&id)?
        {
            return Ok(SubmitAnswer::Known { agent });
        }
        let mut changes = Vec::new();
        let submitted = self.traffic.submit(now, traffic::Submission { id, to, chance }, &mut changes);
        self.write(changes, &body)?;
        Ok(match submitted {
            Ok(Submitted::Queued { agent }) => SubmitAnswer::Queued { agent: agent.to_string() },
            Ok(Submitted::Known { agent }) => SubmitAnswer::Known { agent: agent.to_string() },
            Err(Refusal::Full) => SubmitAnswer::Full,
            Err(refusal) => SubmitAnswer::NotFound(refusal.to_string()),
        })
    }

    pub(super) fn show(&self, id: &TaskId) -> Result<Option<Shown>, StoreError> {
        let Some(task) = self.traffic.task(id) else {
            return Ok(self.store.ended(id)?.map(|ended| Shown::Ended(Box::new(ended))));
        };
        let (state, served) = match &task.state {
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
            // There is nobody yet who gives one.
            GatewayIntent::TryOut { .. } => None,
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
        let mut instances: Vec<_> = table.instances().map(|target| target.view()).collect();
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
