//! The link to the controller and the beat of the one-second records.
//!
//! Intents are carried out one after the other. What happened is told after the answer to the intent that it
//! followed from.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bellwether_core::{
    observation::Second,
    port::gateway::{GatewayAnswer, GatewayEvent, GatewayIntent, PROTOCOL},
};
use bellwether_link::{Hello, Server};
use tokio::{
    net::UnixListener,
    sync::mpsc,
    task::yield_now,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    board::Board,
    desk::{Ask, Desk},
    limits,
    model::{Model, Probes},
    observe::{Gauges, Silent},
    target::Target,
};

pub(crate) struct Keeper {
    server: Server<GatewayAnswer, GatewayEvent>,
    requests: bellwether_link::Requests<GatewayIntent, GatewayAnswer>,
    events: mpsc::UnboundedReceiver<GatewayEvent>,
    board: Arc<Board>,
    desk: Desk,
    model: Arc<Model>,
    probes: Arc<Probes>,
    /// Closed, and not yet in the store.
    unsaved: VecDeque<Second>,
}

impl Keeper {
    /// A socket file that a gateway before us left behind is replaced; that it is ours to replace is ensured by
    /// the lock on the store.
    pub(crate) fn listen(
        link: &Path,
        events: mpsc::UnboundedReceiver<GatewayEvent>,
        board: Arc<Board>,
        desk: Desk,
        model: Arc<Model>,
        probes: Arc<Probes>,
    ) -> io::Result<Self> {
        match std::fs::remove_file(link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let (name, version) = PROTOCOL;
        let (server, requests) = Server::start(UnixListener::bind(link)?, Hello::new(name, version));
        Ok(Self { server, requests, events, board, desk, model, probes, unsaved: VecDeque::new() })
    }

    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and nothing has happened by then.
        tick.tick().await;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return self.close_second().await,
                Some((intent, tell)) = self.requests.recv() => {
                    let answer = match self.desk.ask(|tell| Ask::Intent(intent, tell)).await {
                        Ok(answer) => answer,
                        Err(unavailable) => GatewayAnswer::Refused { reason: unavailable.to_string() },
                    };
                    // The controller may be gone; it will observe when it is back.
                    drop(tell.send(answer));
                    // Lets the answer go out before the events that are waiting behind it.
                    yield_now().await;
                }
                Some(event) = self.events.recv() => self.server.peers().push(&event),
                _ = tick.tick() => self.close_second().await,
            }
        }
    }

    async fn close_second(&mut self) {
        let model = self.model.gauges();
        let (probes, probes_failed) = self.probes.take();
        let gauges = Gauges {
            slots_busy: model.slots_busy,
            slots_peak: model.slots_peak,
            calls_waiting: model.calls_waiting,
            tasks_queued: self.board.queued.load(Ordering::Relaxed),
            model_switches: model.model_switches,
            probes,
            probes_failed,
            pushes_open: self.board.pushes_open.load(Ordering::Relaxed),
            resumed: self.board.take_resumed(),
            silences: self.silences(),
        };
        // The store gives the number, so that one that could not be kept leaves no gap.
        self.unsaved.push_back(self.board.recorder.close(0, self.board.clock.wall(), gauges));
        if self.unsaved.len() > limits::SECONDS_UNSAVED_MAX {
            self.unsaved.pop_front();
            tracing::error!("a second of observations is lost: the store cannot be written");
        }
        let unsaved = self.unsaved.iter().cloned().collect();
        match self.desk.ask(|tell| Ask::Spool(unsaved, tell)).await {
            Ok(numbered) => {
                self.unsaved.clear();
                for record in numbered {
                    self.server.peers().push(&GatewayEvent::Second { record: Box::new(record) });
                }
            }
            Err(error) => tracing::warn!(%error, waiting = self.unsaved.len(), "seconds wait to be stored"),
        }
    }
    fn silences(&self) -> Vec<Silent> {
        let now = self.board.clock.mono();
        let silent = |target: &Arc<Target>| Silent {
            key: target.key(),
            stalled: target.work.stalled(now),
            quiet: target.quiet(now),
        };
        self.board.table.load().active_ones().map(silent).collect()
    }
}
