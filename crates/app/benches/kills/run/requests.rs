//! Clients that hold their connections open and never ask again: pushed requests and model calls, open-loop, each with
//! the moments of its beginning and its end.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep_until, timeout},
};

use super::Plan;

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a request ever takes that no kill delays.
const SETTLE: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Push,
    ModelCall,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// Nobody listened.
    Refused,
    /// The connection ended before the answer did.
    Broken(String),
    Late,
    /// A status that is no success, or another body than was sent.
    Wrong(String),
}

/// One request of the ledger.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) what: What,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) end: End,
}

pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Asked>>,
}

/// What the clients have in common. One thread: nothing here is contended.
struct Side {
    address: String,
    idle: Mutex<VecDeque<Idle>>,
    ledger: Mutex<Vec<Asked>>,
}

/// A kept connection, and a second handle by which it can be seen whether the other end has closed it.
struct Idle {
    sender: SendRequest<Full<Bytes>>,
    look: std::net::TcpStream,
}

impl Clients {
    pub(super) fn start(plan: &Plan, gateway: &str) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let side = Arc::new(Side {
            address: gateway.strip_prefix("http://").unwrap_or(gateway).to_owned(),
            idle: Mutex::default(),
            ledger: Mutex::default(),
        });
        let (plan, stopped) = (plan.clone(), stop.clone());
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let pushes = arrive(&side, What::Push, plan.pushes, &plan, &stopped);
                let calls = arrive(&side, What::ModelCall, plan.calls, &plan, &stopped);
                tokio::join!(pushes, calls);
            });
            std::mem::take(&mut *side.ledger.lock().unwrap_or_else(PoisonError::into_inner))
        });
        Ok(Self { stop, thread })
    }

    /// Ends the arrivals, and waits for what is open.
    pub(super) fn ledger(self) -> Result<Vec<Asked>, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panicked| "the clients panicked".to_owned())
    }
}

/// A Poisson process that waits for no answer.
async fn arrive(side: &Arc<Side>, what: What, rate: f64, plan: &Plan, stop: &AtomicBool) {
    if rate <= 0.0 || what == What::Push && plan.pushed == 0 {
        return;
    }
    let mut chance = fastrand::Rng::with_seed(plan.seed ^ what as u64);
    let mut due = Instant::now();
    let mut open = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        due += Duration::from_secs_f64(-(1.0 - chance.f64()).ln() / rate);
        sleep_until(due.into()).await;
        while open.try_join_next().is_some() {}
        let request = request(side, what, plan, &mut chance);
        open.spawn(ask(side.clone(), what, request));
    }
    // What does not end in time is in no ledger; each request has a patience of its own that is shorter.
    drop(timeout(SETTLE, async { while open.join_next().await.is_some() {} }).await);
}

fn request(side: &Side, what: What, plan: &Plan, chance: &mut fastrand::Rng) -> (Request<Full<Bytes>>, Bytes) {
    let (path, body) = match what {
        What::Push => {
            let agent = super::fleet::pushed_agent(chance.usize(..plan.pushed));
            (format!("/a/{agent}/work"), format!("{:016x}", chance.u64(..)))
        }
        What::ModelCall => (
            "/m/bench/api/generate".to_owned(),
            r#"{"model": "tinyllama", "prompt": "one two three", "stream": false}"#.to_owned(),
        ),
    };
    let body = Bytes::from(body);
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = Method::POST;
    // Both are made of plain letters; what they would be replaced by is refused by the gateway, and counted.
    *request.uri_mut() = path.parse().unwrap_or_default();
    for (name, value) in [(HOST, side.address.as_str()), (CONTENT_TYPE, "application/json")] {
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    }
    (request, body)
}

async fn ask(side: Arc<Side>, what: What, (request, body): (Request<Full<Bytes>>, Bytes)) {
    let began = Instant::now();
    let end = match timeout(PATIENCE, answer(&side, what, request, body)).await {
        Ok(Ok(())) => End::Answered,
        Ok(Err(end)) => end,
        Err(_elapsed) => End::Late,
    };
    let asked = Asked { what, began, ended: Instant::now(), end };
    side.ledger.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
}

async fn answer(side: &Side, what: What, request: Request<Full<Bytes>>, body: Bytes) -> Result<(), End> {
    let broken = |error: hyper::Error| End::Broken(error.to_string());
    let mut connection = match side.open_one() {
        Some(kept) => kept,
        None => side.connect().await?,
    };
    let response = connection.sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let answered = response.into_body().collect().await.map_err(broken)?.to_bytes();
    if connection.sender.ready().await.is_ok() {
        side.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
    }
    if !status.is_success() {
        return Err(End::Wrong(format!("{status}: {}", String::from_utf8_lossy(&answered))));
    }
    if what == What::Push && answered != body {
        return Err(End::Wrong("the answer to another request".to_owned()));
    }
    Ok(())
}

impl Side {
    /// A kept connection that the other end has not closed, as far as the kernel knows.
    fn open_one(&self) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(kept) = idle.pop_front() {
            let waits = kept.look.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            if waits && !kept.sender.is_closed() {
                return Some(kept);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Idle, End> {
        let refused = |error: std::io::Error| match error.kind() {
            ErrorKind::ConnectionRefused => End::Refused,
            _ => End::Broken(error.to_string()),
        };
        let stream = TcpStream::connect(&self.address).await.map_err(refused)?;
        stream.set_nodelay(true).map_err(refused)?;
        let stream = stream.into_std().map_err(refused)?;
        let look = stream.try_clone().map_err(refused)?;
        let stream = TcpStream::from_std(stream).map_err(refused)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| End::Broken(error.to_string()))?;
        tokio::spawn(async move {
            // How it ends is told to whoever waits for an answer on it.
            drop(connection.await);
        });
        Ok(Idle { sender, look })
    }
}
