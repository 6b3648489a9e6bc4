//! What each question does to the machine and the store. Answers are kept back until the commit.

use std::sync::Arc;

use bellwether_core::{
    diagnostic::chain,
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayIntent, GatewayView, InstanceView},
    time::Now,
    traffic::{Refusal, RouteError},
};

use super::{Awaited, Writer};
use crate::{
    desk::{Ask, Page, ReviveAnswer, SubmitAnswer, TakenIn, Tell},
    store::StoreError,
    target::Target,
};

/// Who asked may have stopped waiting; the answer then has no reader.
pub(super) fn tell<T>(tell: Tell<T>, answer: T) {
    drop(tell.send(answer));
}

impl Writer {
    pub(super) fn answer(&mut self, now: Now, ask: Ask) -> Result<(), StoreError> {
        match ask {
            Ask::Submit(_, tell) if self.room.is_full() => self.reply(tell, SubmitAnswer::NoRoom),
            Ask::Revive { tell, .. } if self.room.is_full() => self.reply(tell, ReviveAnswer::NoRoom),
            Ask::TakeIn { tell, .. } if self.room.is_full() => self.reply(tell, TakenIn::Refused),
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
            Ask::Complete { id, by, account, tell } => {
                let completion = self.complete(now, &id, by, *account)?;
                self.reply(tell, completion);
            }
            Ask::Progress { id, by, attempt, checkpoint, tell } => {
                let progress = self.progress(now, &id, by, attempt, checkpoint)?;
                self.reply(tell, progress);
            }
            Ask::Leave { instance, tell } => {
                let mut changes = Vec::new();
                self.traffic.leave(now, instance, &mut changes);
                self.write(changes, &[])?;
                self.reply(tell, ());
            }
            Ask::HasRoom { instance, places, tell } => {
                let has_room = self.has_room(instance, places);
                self.reply(tell, has_room);
            }
            Ask::TakeIn { instance, id, body, tell } => {
                let taken_in = self.take_in(now, instance, id, &body)?;
                self.reply(tell, taken_in);
            }
            Ask::Letters(tell) => {
                let due = self.store.letters(now.wall)?;
                self.reply(tell, due);
            }
            Ask::Posted { number, posted, tell } => {
                self.store.posted(number, &posted)?;
                self.reply(tell, ());
            }
            Ask::Outbox(tell) => {
                let outbox = self.store.outbox()?;
                self.reply(tell, outbox);
            }
            Ask::Renew { id, by } => self.traffic.renew(now.mono, &id, by),
            Ask::Show { id, wait, tell } => match self.show(&id)? {
                Some(shown) if wait.goes_on(&shown) => self.shows_awaited.entry(id).or_default().push((wait, tell)),
                shown => self.reply(tell, shown),
            },
            Ask::Cancel { id, tell } => {
                let answer = self.cancel(now, &id)?;
                self.reply(tell, answer);
            }
            Ask::Revive { id, tell } => {
                let answer = self.revive(now, &id)?;
                self.reply(tell, answer);
            }
            Ask::List { filter, after, limit, tell } => {
                let (tasks, next) = self.store.list(&filter, after, limit, |id| self.traffic.task(id))?;
                self.reply(tell, Page { tasks, next });
            }
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
            // These two are worked off before everything else.
            Ask::Intent(intent, tell) => {
                let answer = self.intent(now, intent)?;
                self.reply(tell, answer);
            }
            Ask::Close => self.closing = true,
            Ask::Spool(seconds, tell) => {
                let numbered = self.spool(seconds)?;
                self.reply(tell, numbered);
            }
        }
        Ok(())
    }

    pub(super) fn reply<T: Send + 'static>(&mut self, to: Tell<T>, answer: T) {
        self.replies.push(Box::new(move || tell(to, answer)));
    }

    pub(super) fn intent(&mut self, now: Now, intent: GatewayIntent) -> Result<GatewayAnswer, StoreError> {
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
            GatewayIntent::Copy { to } => {
                self.store.commit()?;
                return Ok(match self.store.copy(&to) {
                    Ok(()) => GatewayAnswer::Done { generation: self.traffic.generation() },
                    Err(error) => GatewayAnswer::Refused { reason: chain(&error) },
                });
            }
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

    pub(super) fn spool(&mut self, seconds: Vec<Second>) -> Result<Vec<Second>, StoreError> {
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
