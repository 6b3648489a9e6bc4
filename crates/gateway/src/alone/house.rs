//! What every request has at hand.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bellwether_core::inference::BreakerSettings;
use tokio::sync::Semaphore;

use crate::{
    breakers::Breakers,
    clock::Clock,
    limits,
    model::{Books, Model, ModelSettings, Probes, Straight, UpstreamSettings},
    naming::Clients,
    observe::Recorder,
};

pub(super) struct House {
    pub(super) upstream: UpstreamSettings,
    pub(super) way: Way,
    pub(super) clients: Clients,
    pub(super) clock: Clock,
    /// Closed once a second.
    pub(super) recorder: Arc<Recorder>,
    pub(super) probes: Arc<Probes>,
    /// Whether the model server could be reached when it was last tried.
    reachable: AtomicBool,
    pub(super) connections: Arc<Semaphore>,
}

/// How requests get to the model server.
pub(super) enum Way {
    Admitted(Arc<Model>),
    /// `--bypass`
    Straight(Straight),
}

impl House {
    pub(super) fn new(model: &ModelSettings, upstream: UpstreamSettings, bypass: bool, reachable: bool) -> Self {
        let (clock, recorder) = (Clock::start(), Arc::new(Recorder::default()));
        let way = if bypass {
            Way::Straight(Straight::new(&upstream.url))
        } else {
            // No caller is an instance, so that no breaker is ever made.
            let breakers = Breakers::new(BreakerSettings::default(), clock, recorder.clone());
            Way::Admitted(Model::start(model, Books { recorder: recorder.clone(), waits: Arc::default(), breakers }))
        };
        Self {
            upstream,
            way,
            clients: Clients::default(),
            clock,
            recorder,
            probes: Arc::default(),
            reachable: AtomicBool::new(reachable),
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
        }
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    pub(super) fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::Relaxed);
    }
}
