//! A load client for any endpoint that speaks as Ollama does, counted from outside.
//!
//! Clients in a closed loop: each asks, waits until it is answered or its patience is over, and asks again. Several
//! endpoints take turns, round by round, so that whatever else the machine does meanwhile hits all of them alike. Nothing
//! in the report is what an endpoint says of itself, but the models that it says are in memory and the tokens that it says
//! it generated.

mod answer;
mod books;
mod client;
mod endpoint;
mod figures;
mod question;
mod report;
mod residents;
#[cfg(test)]
mod tests;
mod text;
mod tryout;
mod wire;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use answer::Reader;
use books::Books;
use client::{Client, Sequence, Turn};
pub(crate) use endpoint::{Endpoint, Header};
use figures::{Crowd, Figures, Tally};
pub(crate) use question::Api;
use question::Questions;
pub(crate) use report::Report;
pub(crate) use tryout::Unfit;
use wire::{Caller, Wire};

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) clients: usize,
    /// Connections of one client beside the others, which have one each.
    pub(crate) greedy: Option<usize>,
    /// Of them one is drawn at random for each call.
    pub(crate) models: Vec<String>,
    /// How long a client waits for an answer.
    pub(crate) patience: Duration,
    /// Between an answer and the next question, on average.
    pub(crate) think: Duration,
    /// What is measured of each endpoint in each round, and the load before, which is not.
    pub(crate) span: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) rounds: u32,
    pub(crate) api: Api,
    pub(crate) stream: bool,
    /// Of an answer.
    pub(crate) tokens: u32,
    /// Words of a prompt.
    pub(crate) prompt_tokens: usize,
    /// Share of the clients that leave before they are answered.
    pub(crate) leave: f64,
    pub(crate) headers: Vec<Header>,
    /// Of models, prompts and moments.
    pub(crate) seed: u64,
}

/// Connections start at random moments within this time.
const START_OVER: Duration = Duration::from_secs(1);
const REACH_MAX: Duration = Duration::from_secs(10);
/// What was closed at the end of a turn may not be known to the server yet.
const BETWEEN_TURNS: Duration = Duration::from_millis(500);

/// Tries every endpoint with every model, then measures. Ends early, with what it has, when `stop` is cancelled. `tell` is
/// given a line after each turn.
pub(crate) async fn measure(options: &Options, stop: &CancellationToken, tell: impl Fn(&str)) -> Result<Report, Unfit> {
    let crowd = Crowd::new(options.clients, options.greedy, options.leave);
    let mut sites = Vec::new();
    for endpoint in &options.endpoints {
        sites.push(Site::open(endpoint, &crowd, options).await?);
    }
    for site in &sites {
        tokio::select! {
            tried = tryout::tried(site, options) => tried?,
            () = stop.cancelled() => return Err(Unfit::Stopped),
        }
    }
    let mut tallies = vec![Vec::new(); sites.len()];
    'all: for round in 0..options.rounds {
        for (at, site) in sites.iter().enumerate() {
            let Some(tally) = turn(site, &crowd, options, round, stop).await else { break 'all };
            let figures = Figures::of(&tally, &crowd, &options.models);
            tell(&format!(
                "round {} of {}: {:>8.1} answers/s at {}",
                round + 1,
                options.rounds,
                figures.answers_per_second,
                site.endpoint.url
            ));
            tallies[at].push(tally);
            if stop.is_cancelled() {
                break 'all;
            }
            tokio::time::sleep(BETWEEN_TURNS).await;
        }
    }
    if tallies.iter().all(Vec::is_empty) {
        return Err(Unfit::Stopped);
    }
    let figures = |tally: &Tally| Figures::of(tally, &crowd, &options.models);
    let measured = tallies.iter().map(|rounds| {
        let sum = if rounds.is_empty() { Tally::nothing(&crowd, options.models.len()) } else { Tally::sum(rounds) };
        (figures(&sum), rounds.iter().map(figures).collect())
    });
    Ok(Report::new(options, stop.is_cancelled(), measured.collect()))
}

/// An endpoint, and what each client calls there.
struct Site<'o> {
    endpoint: &'o Endpoint,
    callers: Vec<Caller>,
}

impl<'o> Site<'o> {
    async fn open(endpoint: &'o Endpoint, crowd: &Crowd, options: &Options) -> Result<Self, Unfit> {
        let unreachable = |why: String| Unfit::Unreachable { url: endpoint.url.clone(), why };
        let places = endpoint.resolve().await.map_err(|error| unreachable(error.to_string()))?;
        // What the system says to it is worth more than that a call did not connect.
        match timeout(REACH_MAX, TcpStream::connect(&places[..])).await {
            Ok(Ok(_reached)) => {}
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_elapsed) => return Err(unreachable(format!("no connection within {} s", REACH_MAX.as_secs()))),
        }
        let callers = crowd.names.iter().map(|name| {
            Caller::new(endpoint, &places, name, options.api, &options.headers)
                .ok_or_else(|| unreachable(format!("{name} has no address there")))
        });
        Ok(Self { endpoint, callers: callers.collect::<Result<_, _>>()? })
    }
}

/// One endpoint under load, once. `None` if it was stopped before anything was measured.
async fn turn(
    site: &Site<'_>,
    crowd: &Crowd,
    options: &Options,
    round: u32,
    stop: &CancellationToken,
) -> Option<Tally> {
    let begun = Instant::now();
    let opens = begun + options.warm_up;
    let patience_us = u64::try_from(options.patience.as_micros()).unwrap_or(u64::MAX);
    let turn = Arc::new(Turn {
        questions: Questions::new(&options.models, options.api, options.stream, options.tokens, options.prompt_tokens),
        patience: options.patience,
        think: options.think,
        opens,
        closes: opens + options.span,
        stop: stop.clone(),
        recent: AtomicU64::new(patience_us),
        sequence: Sequence::new(),
    });
    let watching = site.callers.first().map(|caller| {
        let (turn, wire) = (Arc::clone(&turn), Wire::new(caller.clone()));
        AbortOnDropHandle::new(tokio::spawn(async move { residents::watch(&turn, wire).await }))
    });
    let start_over = START_OVER.min((options.warm_up + options.span) / 4);
    let mut running = JoinSet::new();
    // The same at every endpoint of a round.
    let mut seeds = fastrand::Rng::with_seed(options.seed.wrapping_add(u64::from(round) << 32));
    for (who, (caller, &count)) in site.callers.iter().zip(&crowd.connections).enumerate() {
        for _ in 0..count {
            let client = Client {
                turn: Arc::clone(&turn),
                wire: Wire::new(caller.clone()),
                reader: Reader::new(options.api, options.stream),
                chance: seeds.fork(),
                leaves: crowd.leaves[who],
                starts_after: start_over.mul_f64(seeds.f64()),
            };
            running.spawn(async move { (who, client.run().await) });
        }
    }
    tokio::select! {
        () = sleep_until(opens.into()) => {}
        () = stop.cancelled() => return None,
    }
    let cpu_before = cpu();
    turn.over().await;
    let (window, cpu) = (opens.elapsed().min(options.span), cpu().saturating_sub(cpu_before));
    let mut tally = Tally { window, cpu, ..Tally::nothing(crowd, options.models.len()) };
    while let Some(joined) = running.join_next().await {
        match joined {
            Ok((who, books)) => tally.by_client[who].merge(&books),
            Err(error) => tracing::error!(%error, "a client ended in an unforeseen way"),
        }
    }
    tally.switches = match watching {
        Some(watching) => watching.await.unwrap_or_default(),
        None => None,
    };
    Some(tally)
}

impl Tally {
    fn nothing(crowd: &Crowd, models: usize) -> Self {
        Self { by_client: vec![Books::new(models); crowd.names.len()], ..Self::default() }
    }
}

/// Processor time of this process.
fn cpu() -> Duration {
    // It is not negative.
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
