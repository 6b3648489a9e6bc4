//! From the ledger to figures: what failed, what was cut, what was stale, and what waiting it cost.

mod text;

use std::{collections::BTreeMap, ops::Range, time::Duration};

use serde::Serialize;

use crate::{
    conductor::Part,
    cutovers::{Cutover, Cutovers},
    ledger::{Failure, Kind, Ledger, Post, Stream},
    machine::{self, BusyCores},
    options::Options,
};

/// Requests that are due this near to a swap of the whole fleet are shown apart.
const NEAR: Duration = Duration::from_millis(50);

/// What a run leaves behind.
pub(crate) struct Evidence {
    pub(crate) ledger: Ledger,
    pub(crate) cutovers: Cutovers,
    pub(crate) parts: Vec<(Part, Range<Duration>)>,
    /// Requests that targets carried out.
    pub(crate) executed: u64,
    pub(crate) claims_left: u64,
    pub(crate) busy: BusyCores,
}

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) passed: bool,
    agents: u16,
    rate: f64,
    part_seconds: f64,
    cores: usize,
    requests: Requests,
    streams: Streams,
    websockets: Streams,
    /// Requests, streams and WebSockets by a side that was retired before they were sent.
    stale: usize,
    /// What the gateway held for instances when its clients held nothing.
    claims_left: u64,
    failures: BTreeMap<String, usize>,
    swap_one: Swaps,
    swap_all: Swaps,
    latency: Vec<Latency>,
    /// From when a request was due to when the load generator sent it.
    lag_p99_ms: Option<f64>,
    busy_cores: BusyCores,
}

#[derive(Serialize)]
struct Requests {
    total: usize,
    failed: usize,
    /// Carried out more often than they were sent.
    repeated: u64,
}

#[derive(Serialize)]
struct Streams {
    begun: usize,
    cut: usize,
    /// Those that were to be open during every cutover, and those that were.
    lasting: usize,
    spanned: usize,
    /// Lines, or messages echoed.
    pieces: u64,
    longest_pause_ms: Option<f64>,
}

#[derive(Serialize)]
struct Swaps {
    count: usize,
    p50_ms: Option<f64>,
    max_ms: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Window {
    Before,
    OneByOne,
    AllAtOnce,
    NearSwap,
    After,
}

#[derive(Serialize)]
struct Latency {
    window: Window,
    requests: usize,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    /// Against `before`.
    p50_ratio: Option<f64>,
    p99_ratio: Option<f64>,
}

impl Report {
    pub(crate) fn of(options: &Options, evidence: &Evidence) -> Self {
        let Evidence { ledger, cutovers, claims_left, busy, .. } = evidence;
        let posts = &ledger.posts;
        let requests = Requests {
            total: posts.len(),
            failed: posts.iter().filter(|post| post.outcome.is_err()).count(),
            repeated: evidence.executed.saturating_sub(posts.len() as u64),
        };
        let streams = Streams::of(evidence, |kind| kind != Kind::WebSocket);
        let websockets = Streams::of(evidence, |kind| kind == Kind::WebSocket);
        let stale = stale(ledger, cutovers);
        let is_clean = |streams: &Streams| streams.cut == 0 && streams.spanned == streams.lasting;
        Self {
            passed: requests.total > 0
                && requests.failed == 0
                && requests.repeated == 0
                && is_clean(&streams)
                && is_clean(&websockets)
                && stale == 0
                && *claims_left == 0,
            agents: options.agents,
            rate: options.rate,
            part_seconds: options.seconds,
            cores: machine::cores(),
            requests,
            streams,
            websockets,
            stale,
            claims_left: *claims_left,
            failures: failures(ledger),
            swap_one: Swaps::of(&evidence.cutovers_in(Part::OneByOne)),
            swap_all: Swaps::of(&evidence.cutovers_in(Part::AllAtOnce)),
            latency: latency(evidence),
            lag_p99_ms: quantile(&sorted(posts.iter().map(|post| post.sent.saturating_sub(post.due))), 0.99),
            busy_cores: *busy,
        }
    }
}

impl Evidence {
    fn part(&self, part: Part) -> Range<Duration> {
        self.parts.iter().find(|(it, _)| *it == part).map_or(Duration::ZERO..Duration::ZERO, |(_, span)| span.clone())
    }

    fn cutovers_in(&self, part: Part) -> Vec<&Cutover> {
        let span = self.part(part);
        self.cutovers.iter().filter(|cutover| span.contains(&cutover.sent)).collect()
    }
}

impl Streams {
    fn of(evidence: &Evidence, is_it: impl Fn(Kind) -> bool) -> Self {
        // From the first intent to the last acknowledgement.
        let span = evidence.part(Part::OneByOne).start..evidence.part(Part::AllAtOnce).end;
        let streams = || evidence.ledger.streams.iter().filter(|stream| is_it(stream.kind));
        let spans = |stream: &&Stream| {
            stream.opened.is_some_and(|opened| opened.at < span.start) && stream.end.is_ok() && stream.ended > span.end
        };
        Self {
            begun: streams().count(),
            cut: streams().filter(|stream| stream.end.is_err()).count(),
            lasting: streams().filter(|stream| stream.lasting).count(),
            spanned: streams().filter(|stream| stream.lasting).filter(spans).count(),
            pieces: streams().map(|stream| stream.pieces).sum(),
            longest_pause_ms: streams().map(|stream| stream.longest_pause).max().map(ms),
        }
    }
}

impl Swaps {
    fn of(cutovers: &[&Cutover]) -> Self {
        let times = sorted(cutovers.iter().map(|cutover| cutover.done - cutover.sent));
        Self { count: times.len(), p50_ms: quantile(&times, 0.5), max_ms: quantile(&times, 1.0) }
    }
}

fn stale(ledger: &Ledger, cutovers: &Cutovers) -> usize {
    let post = |post: &&Post| post.outcome.is_ok_and(|by| cutovers.is_stale(post.agent, post.sent, post.ended, by));
    let stream = |stream: &&Stream| {
        stream.opened.is_some_and(|opened| cutovers.is_stale(stream.agent, stream.sent, opened.at, opened.by))
    };
    ledger.posts.iter().filter(post).count() + ledger.streams.iter().filter(stream).count()
}

fn failures(ledger: &Ledger) -> BTreeMap<String, usize> {
    let posts = ledger.posts.iter().filter_map(|post| post.outcome.err()).map(|why| ("request", why));
    let streams = ledger.streams.iter().filter_map(|stream| Some((kind(stream.kind), stream.end.err()?)));
    let mut counts = BTreeMap::<(&str, Failure), usize>::new();
    for failure in posts.chain(streams) {
        *counts.entry(failure).or_default() += 1;
    }
    counts.into_iter().map(|((what, why), count)| (format!("{what}: {why}"), count)).collect()
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::NdJson => "NDJSON stream",
        Kind::Sse => "SSE stream",
        Kind::WebSocket => "WebSocket",
    }
}

fn latency(evidence: &Evidence) -> Vec<Latency> {
    let swaps = evidence.cutovers_in(Part::AllAtOnce);
    let near = |due: Duration| swaps.iter().any(|swap| due + NEAR >= swap.sent && due <= swap.done + NEAR);
    let windows = [
        (Window::Before, Part::Before),
        (Window::OneByOne, Part::OneByOne),
        (Window::AllAtOnce, Part::AllAtOnce),
        (Window::NearSwap, Part::AllAtOnce),
        (Window::After, Part::After),
    ];
    let mut before = (None, None);
    windows
        .map(|(window, part)| {
            let span = evidence.part(part);
            let posts = evidence.ledger.posts.iter().filter(|post| {
                post.outcome.is_ok() && span.contains(&post.due) && (window != Window::NearSwap || near(post.due))
            });
            let times = sorted(posts.map(|post| post.ended - post.due));
            let (p50_ms, p99_ms) = (quantile(&times, 0.5), quantile(&times, 0.99));
            if window == Window::Before {
                before = (p50_ms, p99_ms);
            }
            Latency {
                window,
                requests: times.len(),
                p50_ms,
                p99_ms,
                max_ms: quantile(&times, 1.0),
                p50_ratio: ratio(p50_ms, before.0),
                p99_ratio: ratio(p99_ms, before.1),
            }
        })
        .into()
}

fn ratio(value: Option<f64>, reference: Option<f64>) -> Option<f64> {
    Some(value? / reference?)
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

/// The ⌈q·n⌉-th smallest.
fn quantile(sorted: &[Duration], q: f64) -> Option<f64> {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied().map(ms)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
