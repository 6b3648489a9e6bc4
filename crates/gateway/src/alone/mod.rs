//! The model half of the gateway alone: a front for any Ollama, without a fleet and without a store.
//!
//! It is the same admission as a fleet's gateway has, for clients that are named by what their requests carry. Nothing is kept on
//! the disk. With `bypass` there is no admission either: requests go straight through.

mod answer;
mod health;
mod house;
mod second;
mod serve;

use std::{io, net::TcpListener, sync::Arc, thread, time::Duration};

use tokio_util::sync::CancellationToken;

use self::house::House;
use crate::model::{ModelSettings, Prober, Straight, UpstreamSettings};

pub struct AloneConfig {
    pub listener: TcpListener,
    pub model: ModelSettings,
    /// Whether each model server answered a moment ago.
    pub reachable: Vec<bool>,
    /// No admission and no refusals; for one model server.
    pub bypass: bool,
    /// What requests in flight may take to end when it is told to stop.
    pub finish_within: Duration,
    /// Runtime threads; at least one.
    pub threads: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum AloneError {
    #[error("the gateway could not {step}")]
    Io { step: &'static str, source: io::Error },
    #[error("the gateway's {0} thread panicked")]
    Panicked(String),
}

impl AloneError {
    fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { step, source }
    }
}

/// The account of a client that is named by its path or by `X-Agent`.
pub fn account(client: &str) -> String {
    crate::naming::named(client)
}

/// Whether the model server answers at this moment, and why not.
pub async fn look(upstream: &UpstreamSettings) -> Result<(), String> {
    Straight::new(&upstream.url).look().await.map_err(|error| error.to_string())
}

/// Serves until `shutdown`, then until what is in flight has ended or had its time, or until `cut`.
pub fn run(config: AloneConfig, shutdown: CancellationToken, cut: CancellationToken) -> Result<(), AloneError> {
    let AloneConfig { listener, model, reachable, bypass, finish_within, threads } = config;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AloneError::at("start its own runtime"))?;
    listener.set_nonblocking(true).map_err(AloneError::at("make its listener asynchronous"))?;
    let house = Arc::new(House::new(&model, bypass, &reachable));
    // Whichever thread ends first ends the others.
    let stop = shutdown.child_token();
    let _stop_all = stop.clone().drop_guard();
    let mut serving = Vec::new();
    for n in 0..threads.max(1) {
        let listener = listener.try_clone().map_err(AloneError::at("share its listener"))?;
        let (house, stop, cut) = (house.clone(), stop.clone(), cut.clone());
        let name = format!("serve-{n}");
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            let _stop_all = stop.clone().drop_guard();
            serve::run(listener, &house, finish_within, &stop, &cut).map_err(AloneError::at("serve"))
        });
        serving.push((name, thread.map_err(AloneError::at("start a thread"))?));
    }
    drop(listener);
    let prober = Prober::new(&house.upstreams, house.probes.clone());
    runtime.block_on(async { tokio::join!(prober.run(stop.clone()), second::run(&house, &stop)) });
    let join =
        |(name, thread): (String, thread::JoinHandle<_>)| thread.join().unwrap_or(Err(AloneError::Panicked(name)));
    serving.into_iter().map(join).fold(Ok(()), Result::and)
}
