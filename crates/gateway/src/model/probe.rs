//! Once a second: can the model server be reached? (R42)
//!
//! A check of the connection and of nothing else: it needs no slot and no model, so a model server that answers it
//! may still be unable to generate. It uses a connection of its own each time, because a kept one proves nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{CONNECTION, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{settings::UpstreamSettings, upstream::Target};

const EVERY: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(2);
/// A limit that is noticed later than this was noticed by a process that had no CPU itself.
const OWN_DELAY: Duration = Duration::from_millis(500);

/// Attempts that ended, as they add up until they are taken, and how the last one to each server ended.
#[derive(Debug)]
pub(crate) struct Probes {
    made: AtomicU32,
    failed: AtomicU32,
    reachable: Box<[AtomicBool]>,
}

pub(crate) struct Prober {
    targets: Vec<Arc<Result<Target, String>>>,
    probes: Arc<Probes>,
}

#[derive(Debug, thiserror::Error)]
enum Unreached {
    #[error("{0}")]
    Url(String),
    #[error("it cannot be connected to")]
    Connect(#[source] std::io::Error),
    #[error("it does not answer")]
    Answer(#[source] hyper::Error),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("it did not answer within {} s", LIMIT.as_secs())]
    Late,
    #[error("the gateway was held up, so that nothing can be said")]
    HeldUp,
}

impl Probes {
    /// Of so many servers, all of which count as there until one is found not to be.
    pub(crate) fn of(servers: usize) -> Arc<Self> {
        let reachable = (0..servers).map(|_| AtomicBool::new(true)).collect();
        Arc::new(Self { made: AtomicU32::new(0), failed: AtomicU32::new(0), reachable })
    }

    pub(crate) fn is_reachable(&self, server: usize) -> bool {
        self.reachable.get(server).is_some_and(|reachable| reachable.load(Ordering::Relaxed))
    }

    /// What it was before.
    pub(crate) fn set_reachable(&self, server: usize, reachable: bool) -> bool {
        self.reachable.get(server).is_some_and(|it| it.swap(reachable, Ordering::Relaxed))
    }

    /// How many were made and how many of these failed, since they were last taken.
    pub(crate) fn take(&self) -> (u32, u32) {
        // In the reverse of the order in which they are counted: never more failures than attempts.
        let failed = self.failed.swap(0, Ordering::Acquire);
        (self.made.swap(0, Ordering::Relaxed), failed)
    }

    fn count(&self, failed: bool) {
        self.made.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u32::from(failed), Ordering::Release);
    }
}

impl Prober {
    pub(crate) fn new(upstreams: &[UpstreamSettings], probes: Arc<Probes>) -> Self {
        let targets = upstreams.iter().map(|upstream| Arc::new(Target::parse(&upstream.url))).collect();
        Self { targets, probes }
    }

    /// Each attempt has its own limit, so a server that answers nothing fails as many as one that refuses.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => for (server, target) in self.targets.iter().enumerate() {
                    let target = target.clone();
                    under_way.spawn(async move { (server, probe(&target).await) });
                },
                Some(ended) = under_way.join_next() => match ended {
                    Ok((server, ended)) => self.ended(server, &ended),
                    Err(error) => tracing::error!(%error, "a look at the model server came to no end"),
                },
            }
        }
    }

    fn ended(&self, server: usize, ended: &Result<(), Unreached>) {
        if matches!(ended, Err(Unreached::HeldUp)) {
            return tracing::debug!("a look at the model server was late by the gateway's own doing");
        }
        self.probes.count(ended.is_err());
        // The log says when it changed, and not the same each second.
        match (ended, self.probes.set_reachable(server, ended.is_ok())) {
            (Ok(()), false) => tracing::info!(server, "the model server can be reached again"),
            (Err(error), true) => {
                let error: &dyn std::error::Error = error;
                tracing::warn!(server, error, "the model server cannot be reached");
            }
            (Ok(()), true) | (Err(_), false) => {}
        }
    }
}

async fn probe(target: &Result<Target, String>) -> Result<(), Unreached> {
    let target = target.as_ref().map_err(|reason| Unreached::Url(reason.clone()))?;
    let began = Instant::now();
    let held_up = || began.elapsed() > LIMIT + OWN_DELAY;
    let late = |_| if held_up() { Unreached::HeldUp } else { Unreached::Late };
    let status = timeout(LIMIT, ask(target)).await.map_err(late)??;
    // Behind a proxy that answers in its stead it is not reached.
    if status.is_server_error() { Err(Unreached::Status(status)) } else { Ok(()) }
}

async fn ask(target: &Target) -> Result<StatusCode, Unreached> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(Unreached::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Unreached::Answer)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    let path = format!("{}/api/version", target.prefix);
    *request.uri_mut() = path.parse().map_err(|error| Unreached::Url(format!("{path} is not a path: {error}")))?;
    request.headers_mut().insert(HOST, target.header.clone());
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection may end together with the answer that it brought.
        _ = &mut connection => answer.await,
    };
    answer.map(|answer| answer.status()).map_err(Unreached::Answer)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Probes a server that answers one connection with these bytes.
    async fn probed(answer: &'static str) -> Result<(), Unreached> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/under", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).await.unwrap();
            assert!(asked[..read].starts_with(b"GET /under/api/version HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let ended = probe(&Target::parse(&url)).await;
        serving.await.unwrap();
        ended
    }

    #[tokio::test]
    async fn whoever_answers_for_itself_is_reached() {
        probed("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        probed("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }

    #[tokio::test]
    async fn a_proxy_in_its_stead_a_breach_and_a_closed_door_are_failures() {
        assert!(matches!(probed("HTTP/1.1 502 Bad Gateway\r\n\r\n").await, Err(Unreached::Status(_))));
        assert!(matches!(probed("").await, Err(Unreached::Answer(_))));
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", closed.local_addr().unwrap());
        drop(closed);
        assert!(matches!(probe(&Target::parse(&url)).await, Err(Unreached::Connect(_))));
        assert!(matches!(probe(&Target::parse("https://x")).await, Err(Unreached::Url(_))));
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_is_given_up_after_the_limit() {
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", mute.local_addr().unwrap());
        assert!(matches!(probe(&Target::parse(&url)).await, Err(Unreached::Late)));
    }

    #[test]
    fn what_was_taken_is_counted_once() {
        let probes = Probes::of(1);
        [true, false, true].into_iter().for_each(|failed| probes.count(failed));
        assert_eq!((probes.take(), probes.take()), ((3, 2), (0, 0)));
    }
}
