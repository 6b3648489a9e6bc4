//! Health endpoints, asked from outside.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bellwether_core::{diagnostic::chain, id::InstanceId, rollout::Event};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::sync::mpsc;

use crate::{effects::send, reactor::Input};

const BEAT: Duration = Duration::from_millis(200);
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// What comes so much later than the patience was up was late because this process did not get to run.
const OWN_DELAY: Duration = Duration::from_millis(500);
/// The machine's boot deadline ends the instance long before this; it only bounds a probe that was forgotten.
const BEATS_MAX: u32 = 6000;

/// Asks `GET /health`. Connections are not kept: one that idles would hold a server that serves one at a time.
#[derive(Clone)]
pub(crate) struct Prober {
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// Why an instance does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it answered {0}")]
    Status(hyper::StatusCode),
    #[error("it did not answer in {} s", PATIENCE.as_secs())]
    Late,
    #[error("no answer could be had")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    #[error("its address is not a URI")]
    Address(#[from] hyper::http::uri::InvalidUri),
    #[error("the controller was held up, so that nothing can be said")]
    HeldUp,
}

impl Prober {
    pub(crate) fn new() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http() }
    }

    pub(crate) async fn ask(&self, address: SocketAddr) -> Result<(), Fault> {
        let uri = format!("http://{address}/health").parse::<hyper::Uri>()?;
        let began = Instant::now();
        match tokio::time::timeout(PATIENCE, self.client.get(uri)).await {
            Ok(Ok(answer)) if answer.status() == hyper::StatusCode::OK => Ok(()),
            Ok(Ok(answer)) => Err(Fault::Status(answer.status())),
            Ok(Err(error)) => Err(Fault::Unreachable(error)),
            Err(_elapsed) if began.elapsed() > PATIENCE + OWN_DELAY => Err(Fault::HeldUp),
            Err(_elapsed) => Err(Fault::Late),
        }
    }

    /// Asks until it answers 200. An instance that is gone by then is found out by its exit.
    pub(crate) async fn until_healthy(self, instance: InstanceId, address: SocketAddr, inputs: mpsc::Sender<Input>) {
        for _ in 0..BEATS_MAX {
            match self.ask(address).await {
                Ok(()) => return send(&inputs, Event::Healthy { instance }).await,
                Err(fault) => tracing::debug!(%instance, fault = chain(&fault), "not healthy yet"),
            }
            if inputs.is_closed() {
                return;
            }
            tokio::time::sleep(BEAT).await;
        }
    }
}
