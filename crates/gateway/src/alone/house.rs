//! What every request has at hand.

use std::sync::Arc;

use bellwether_core::inference::BreakerSettings;
use tokio::sync::Semaphore;

use crate::{
    breakers::Breakers,
    clock::Clock,
    limits,
    model::{Books, Lane, Model, ModelSettings, Probes, Straight, UpstreamSettings},
    naming::Clients,
    observe::Recorder,
};

pub(super) struct House {
    pub(super) upstreams: Vec<UpstreamSettings>,
    /// None with `--bypass`.
    pub(super) model: Option<Arc<Model>>,
    pub(super) clients: Clients,
    pub(super) clock: Clock,
    /// Closed once a second.
    pub(super) recorder: Arc<Recorder>,
    pub(super) breakers: Arc<Breakers>,
    pub(super) probes: Arc<Probes>,
    pub(super) connections: Arc<Semaphore>,
}

/// How the requests of one runtime thread get to the model server.
pub(super) enum Way {
    Admitted {
        model: Arc<Model>,
        lane: Lane,
    },
    /// `--bypass`
    Straight(Straight),
}

impl House {
    pub(super) fn new(settings: &ModelSettings, bypass: bool, reachable: &[bool]) -> Self {
        let (clock, recorder) = (Clock::start(), Arc::new(Recorder::default()));
        // No caller is an instance, so that no breaker is ever made.
        let breakers = Breakers::new(BreakerSettings::default(), clock, recorder.clone());
        let model = (!bypass).then(|| {
            let (recorder, breakers) = (recorder.clone(), breakers.clone());
            Model::start(settings, Books { recorder, waits: Arc::default(), breakers })
        });
        let upstreams = settings.upstreams.clone();
        let probes = Probes::of(upstreams.len());
        for (server, &reachable) in reachable.iter().enumerate() {
            probes.set_reachable(server, reachable);
        }
        Self {
            upstreams,
            model,
            clients: Clients::default(),
            clock,
            recorder,
            breakers,
            probes,
            connections: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)),
        }
    }

    /// Made on each runtime thread.
    pub(super) fn way(&self) -> Way {
        match &self.model {
            Some(model) => Way::Admitted { model: model.clone(), lane: model.lane() },
            // There is one, as nobody chooses among several.
            None => Way::Straight(Straight::new(self.upstreams.first().map_or("", |upstream| &upstream.url))),
        }
    }
}
