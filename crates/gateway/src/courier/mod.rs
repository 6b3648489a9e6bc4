//! Push agents: whoever serves `POST /execute` gets its tasks brought.
//!
//! One courier for each instance whose tasks are pushed. It asks the queue as an agent would, in the instance's name, so
//! that routes, fences, drains and try-outs hold for it as they do for all; standby gets nothing that is new. It lives
//! as long as its instance is known, on a thread of its own.

mod answer;
mod errand;
mod parcel;

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    sync::Arc,
    time::Duration,
};

use bellwether_core::{id::InstanceId, spec::Delivery};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::errand::{Ended, Errand};
use crate::{
    desk::{Ask, HandedOut},
    door::House,
    limits,
    pool::Pool,
    relay,
    target::Target,
};

/// Runs the couriers, and sends the letters of relayed tasks, until the gateway stops or gives way.
pub(crate) fn run(house: &Arc<House>) -> io::Result<()> {
    let stop = &house.leaving;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::join!(Couriers::new(house.clone()).run(stop), relay::post::run(house, stop)) });
    Ok(())
}

struct Couriers {
    house: Arc<House>,
    pool: Arc<Pool>,
    at_work: HashMap<InstanceId, CancellationToken>,
    tracker: TaskTracker,
}

impl Couriers {
    fn new(house: Arc<House>) -> Self {
        Self { house, pool: Arc::default(), at_work: HashMap::new(), tracker: TaskTracker::new() }
    }

    async fn run(mut self, stop: &CancellationToken) {
        let mut changed = self.house.board.changed.subscribe();
        let mut tick = interval(limits::IDLE_LIMIT / 3);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.follow(stop);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                there_is_more = changed.changed() => {
                    if there_is_more.is_err() {
                        break;
                    }
                    self.follow(stop);
                }
                _ = tick.tick() => {}
            }
            self.pool.sweep();
        }
        self.tracker.close();
        // What is under way when another gateway takes over comes to its end here.
        tokio::select! {
            () = self.tracker.wait() => {}
            () = self.house.stop.cancelled() => {}
            () = self.house.cut_all.cancelled() => {}
        }
        if timeout(limits::SHUTDOWN_GRACE, self.tracker.wait()).await.is_err() {
            tracing::warn!(couriers = self.tracker.len(), "cut at the end of the grace for a stop");
        }
    }

    /// A courier for each instance that wants one, and none for others.
    fn follow(&mut self, stop: &CancellationToken) {
        let table = self.house.board.table.load();
        self.at_work.retain(|instance, end| {
            let stays = table.instance(*instance).is_some();
            if !stays {
                end.cancel();
            }
            stays
        });
        for target in table.instances() {
            let Delivery::Push { places } = target.card.delivery else { continue };
            if let (Entry::Vacant(vacant), Some(_)) = (self.at_work.entry(target.card.instance), target.card.upstream) {
                let end = stop.child_token();
                let places = places.clamp(1, limits::PLACES_MAX);
                let courier = Courier {
                    house: self.house.clone(),
                    pool: self.pool.clone(),
                    target: target.clone(),
                    places,
                    end: end.clone(),
                };
                self.tracker.spawn(courier.run());
                vacant.insert(end);
            }
        }
    }
}

struct Courier {
    house: Arc<House>,
    pool: Arc<Pool>,
    target: Arc<Target>,
    places: u32,
    end: CancellationToken,
}

impl Courier {
    async fn run(self) {
        // What an older gateway brings to the instance comes to its end there.
        tokio::select! {
            () = self.house.board.legacy.errands_over(self.target.card.instance) => {}
            () = self.end.cancelled() => return,
        }
        // What else the instance holds from before this process was in requests that ended with it.
        self.give_back().await;
        let mut errands = JoinSet::new();
        let (mut unreached, mut idle) = (limits::COURIER_WAIT, limits::COURIER_WAIT);
        while !self.end.is_cancelled() {
            let asked_at = Instant::now();
            tokio::select! {
                asked = self.ask(), if errands.len() < self.places as usize => {
                    if let Some(task) = asked {
                        errands.spawn(self.errand(task).run());
                        continue;
                    }
                    // Who is gone, and everybody while the store cannot be written, is answered at once.
                    let at_once = asked_at.elapsed() < limits::COURIER_WAIT_MAX;
                    idle = if at_once { longer(idle) } else { limits::COURIER_WAIT };
                    self.pause(idle).await;
                }
                Some(ended) = errands.join_next() => match ended {
                    Ok(Ended::Told) => (unreached, idle) = (limits::COURIER_WAIT, limits::COURIER_WAIT),
                    Ok(Ended::Unreached) => {
                        self.sleep(unreached).await;
                        unreached = longer(unreached);
                    }
                    Err(error) => tracing::error!(%error, "an errand broke off"),
                },
                () = self.end.cancelled() => {}
            }
        }
        // The gateway stops, or the instance was removed and its leases ended with it.
        while errands.join_next().await.is_some() {}
    }

    /// Held open for as long as it may be. Standby is answered as everybody else: not before there is something for it.
    async fn ask(&self) -> Option<HandedOut> {
        if self.target.is_away() {
            return None;
        }
        let (instance, places) = (self.target.card.instance, Some(self.places));
        self.house.desk.ask(|tell| Ask::Next { instance, places, hold: limits::HOLD_MAX, tell }).await.ok().flatten()
    }

    /// Ends with a change of the table: it may be the instance's turn.
    async fn pause(&self, span: Duration) {
        let mut changed = self.house.board.changed.subscribe();
        tokio::select! {
            () = self.sleep(span) => {}
            _ = changed.changed() => {}
        }
    }

    async fn sleep(&self, span: Duration) {
        tokio::select! {
            () = sleep(span) => {}
            () = self.end.cancelled() => {}
        }
    }

    async fn give_back(&self) {
        let instance = self.target.card.instance;
        if self.house.desk.ask(|tell| Ask::Leave { instance, tell }).await.is_err() {
            tracing::warn!(%instance, "what it held is given back when its leases end");
        }
    }

    fn errand(&self, task: HandedOut) -> Errand {
        let (house, pool, target) = (self.house.clone(), self.pool.clone(), self.target.clone());
        Errand { house, pool, _under_way: target.errand(), target, task }
    }
}

fn longer(wait: Duration) -> Duration {
    (wait * 2).min(limits::COURIER_WAIT_MAX)
}

#[cfg(test)]
mod tests;
