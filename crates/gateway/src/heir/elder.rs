//! The side that gives way.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc, time::Duration};

use bellwether_core::{
    port::heir::{HeirAnswer, HeirAsk, HeirId, PROTOCOL, Standing, TookOver},
    time::Millis,
    traffic::handover::{Effect, Event, Stage},
};
use bellwether_link::{Hello, Requests, Server};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::lent::Lent;
use crate::{door::House, limits};

/// What tells the elder how far its other parts are.
pub(crate) struct Parts {
    /// The keeper has ended, and with it the controller's link.
    pub(crate) kept: CancellationToken,
    /// The store is closed.
    pub(crate) closed: CancellationToken,
    /// Ends when no thread serves any more, and nobody before this gateway has anything in flight.
    pub(crate) serving: mpsc::Receiver<()>,
    pub(crate) stop: CancellationToken,
}

pub(crate) struct Elder {
    house: Arc<House>,
    parts: Parts,
    own: PathBuf,
    _server: Server<HeirAnswer, ()>,
    requests: Requests<HeirAsk, HeirAnswer>,
    stage: Stage,
    rank: u64,
    took_over: Option<TookOver>,
    /// Whoever asks, for as long as it lives.
    alive: HashMap<HeirId, Tell>,
    heir: Option<HeirId>,
    shut_at: Instant,
    cut_at: Option<Instant>,
    lent: Option<Lent>,
    more: Option<Tell>,
    /// Since when nothing is in flight.
    served_at: Option<Instant>,
    /// The heir was told so.
    last_told: bool,
}

type Tell = oneshot::Sender<HeirAnswer>;

impl Elder {
    /// Its socket is there when the gateway serves, and not before.
    pub(crate) fn listen(
        own: PathBuf,
        house: Arc<House>,
        parts: Parts,
        rank: u64,
        took_over: Option<TookOver>,
    ) -> io::Result<Self> {
        match std::fs::remove_file(&own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let (name, version) = PROTOCOL;
        let (server, requests) = Server::start(UnixListener::bind(&own)?, Hello::new(name, version));
        Ok(Self {
            house,
            parts,
            own,
            _server: server,
            requests,
            stage: Stage::Serving,
            rank,
            took_over,
            alive: HashMap::new(),
            heir: None,
            shut_at: Instant::now(),
            cut_at: None,
            lent: None,
            more: None,
            served_at: None,
            last_told: false,
        })
    }

    /// Until the gateway stops, or has given everything away.
    pub(crate) async fn run(mut self) {
        let stop = self.parts.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {
                tracing::info!("everything that was in flight has ended");
                stop.cancel();
            }
        }
    }

    async fn work(&mut self) {
        let mut beat = interval(limits::LENT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stage != Stage::Gone {
            let lends = matches!(self.stage, Stage::Lending { .. });
            tokio::select! {
                asked = self.requests.recv() => match asked {
                    Some((ask, tell)) => self.answer(ask, tell).await,
                    None => return,
                },
                () = lost(&mut self.alive, self.heir) => self.heir_lost(),
                _ = beat.tick(), if self.lent.is_some() => self.tell_more().await,
                _none = self.parts.serving.recv(), if lends && self.served_at.is_none() => {
                    self.served_at = Some(Instant::now());
                }
                () = until(self.cut_at), if lends => {
                    self.cut_at = None;
                    self.cut();
                }
            }
            if lends && self.is_finished() {
                self.step(Event::Finished);
            }
        }
    }

    /// Nothing is in flight, and the heir knows all that it must. One that never comes is waited for no longer.
    fn is_finished(&self) -> bool {
        let Some(since) = self.served_at else { return false };
        let is_known = self.last_told && self.lent.as_ref().is_none_or(Lent::is_settled);
        is_known || since.elapsed() >= limits::LAST_WORDS_MAX
    }

    async fn answer(&mut self, ask: HeirAsk, tell: Tell) {
        match ask {
            HeirAsk::Standing => {
                let (serves, rank) = (self.stage == Stage::Serving, self.rank);
                reply(tell, HeirAnswer::Standing(Standing { serves, rank, took_over: self.took_over }));
            }
            HeirAsk::Stay { heir } => drop(self.alive.insert(heir, tell)),
            HeirAsk::TakeOver { heir, schema, finish_within } => {
                let answer = self.take_over(heir, schema, finish_within).await;
                reply(tell, answer);
            }
            HeirAsk::Adopt { heir } => {
                let answer = self.adopt(heir).await;
                reply(tell, answer);
            }
            HeirAsk::Accepting { heir } if self.heir == Some(heir) => {
                self.step(Event::HeirAccepts);
                reply(tell, HeirAnswer::Done);
            }
            HeirAsk::More { heir, taken } if self.heir == Some(heir) => {
                if let Some(lent) = &mut self.lent {
                    lent.taken(taken);
                }
                self.more = Some(tell);
            }
            HeirAsk::Accepting { .. } | HeirAsk::More { .. } => reply(tell, HeirAnswer::Busy),
            HeirAsk::Cut { instance } => {
                if let Some(target) = self.house.board.table.load().instance(instance) {
                    target.cut();
                }
                reply(tell, HeirAnswer::Done);
            }
        }
    }

    async fn take_over(&mut self, heir: HeirId, schema: i32, finish_within: Millis) -> HeirAnswer {
        if schema < bellwether_store::GATEWAY.schema {
            let reason =
                format!("the store has schema {}, and that program knows {schema}", bellwether_store::GATEWAY.schema);
            return HeirAnswer::Refused { reason };
        }
        self.give(heir, finish_within).await
    }

    async fn adopt(&mut self, heir: HeirId) -> HeirAnswer {
        if self.stage.owns_store() { HeirAnswer::Serves } else { self.give(heir, Millis::ZERO).await }
    }

    async fn give(&mut self, heir: HeirId, finish_within: Millis) -> HeirAnswer {
        if self.alive.get(&heir).is_none_or(oneshot::Sender::is_closed) {
            return HeirAnswer::Refused { reason: "it does not say that it lives".to_owned() };
        }
        match self.step(Event::Asked) {
            Some(Effect::ShutDoor) => {
                self.heir = Some(heir);
                if !self.quiesce().await {
                    return HeirAnswer::Refused { reason: "it broke off".to_owned() };
                }
                self.cut_at = Some(Instant::now() + Duration::from_millis(finish_within.0));
            }
            Some(Effect::TellEstate) => {
                self.heir = Some(heir);
                self.last_told = false;
                if let Some(lent) = &mut self.lent {
                    lent.forget_told();
                }
            }
            Some(Effect::Refuse) => return HeirAnswer::Busy,
            Some(Effect::OpenDoor | Effect::CloseStore | Effect::PassOn | Effect::End) | None => {}
        }
        let shut_for = self.shut_at.elapsed();
        match &mut self.lent {
            Some(lent) => HeirAnswer::Yours(Box::new(lent.estate(shut_for).await)),
            None => HeirAnswer::Busy,
        }
    }

    /// From the open door to the closed store. False if the heir died before it could not be taken back.
    async fn quiesce(&mut self) -> bool {
        self.shut_at = Instant::now();
        let emptied = timeout(limits::QUIESCE_MAX, self.house.gate.emptied());
        let in_time = tokio::select! {
            biased;
            () = lost(&mut self.alive, self.heir) => {
                self.heir_lost();
                return false;
            }
            emptied = emptied => emptied.is_ok(),
        };
        if !in_time {
            tracing::warn!("some requests did not end before the store is given away; they are told to come again");
        }
        self.step(Event::Quiesced);
        // No slot is granted from here on.
        self.house.model.close().await;
        self.house.board.recorder.leave();
        self.house.leaving.cancel();
        self.parts.kept.cancelled().await;
        self.house.desk.close().await;
        self.parts.closed.cancelled().await;
        self.lent = Some(Lent::new(self.house.clone()));
        self.step(Event::StoreClosed);
        true
    }

    fn step(&mut self, event: Event) -> Option<Effect> {
        match self.stage.step(event) {
            Ok((next, effect)) => {
                tracing::info!(from = ?self.stage, to = ?next, "hand-over");
                self.stage = next;
                match effect {
                    Some(Effect::ShutDoor) => self.house.gate.shut(),
                    Some(Effect::OpenDoor) => self.house.gate.open(),
                    Some(Effect::PassOn) => self.house.gate.pass_on(),
                    // Done where the event comes from, as they take time.
                    Some(Effect::CloseStore | Effect::TellEstate | Effect::End | Effect::Refuse) | None => {}
                }
                effect
            }
            Err(misplaced) => {
                tracing::error!(%misplaced, "the hand-over is out of order");
                None
            }
        }
    }

    fn heir_lost(&mut self) {
        tracing::warn!("the gateway that was to take over is gone");
        if let Some(heir) = self.heir.take() {
            self.alive.remove(&heir);
        }
        self.more = None;
        self.step(Event::HeirLost);
    }

    /// What began here ends. What was passed on goes on.
    fn cut(&self) {
        let table = self.house.board.table.load();
        tracing::warn!(connections = self.house.open_connections(), "what is still in flight is cut");
        table.instances().for_each(|target| target.cut());
        self.house.cut_all.cancel();
    }

    async fn tell_more(&mut self) {
        let heir = self.heir;
        self.alive.retain(|&id, alive| heir == Some(id) || !alive.is_closed());
        let (Some(lent), Some(_)) = (&mut self.lent, &self.more) else { return };
        let is_last = self.served_at.is_some();
        if let Some(left) = lent.left(is_last).await
            && let Some(tell) = self.more.take()
        {
            self.last_told = is_last;
            reply(tell, HeirAnswer::Left(Box::new(left)));
        }
    }
}

impl Drop for Elder {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.own));
    }
}

/// Returns when the heir is gone; never if there is none.
async fn lost(alive: &mut HashMap<HeirId, Tell>, heir: Option<HeirId>) {
    match heir.and_then(|heir| alive.get_mut(&heir)) {
        Some(alive) => alive.closed().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Who asked may be gone.
fn reply(tell: Tell, answer: HeirAnswer) {
    drop(tell.send(answer));
}
