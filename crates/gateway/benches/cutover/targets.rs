//! Both sides of every agent as small HTTP servers, told apart by their address. All of them share one thread.

mod lines;
mod socket;

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, runtime::Runtime};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::fleet::{self, SIDES};
use lines::{Form, Lines};

/// Who answered.
pub(crate) const ANSWERED_BY: HeaderName = HeaderName::from_static("x-answered-by");
/// How many lines a stream shall have; without it, it goes on until all are told to end.
pub(crate) const LINES: HeaderName = HeaderName::from_static("x-lines");
pub(crate) const POST: &str = "/echo";
pub(crate) const NDJSON: &str = "/ndjson";
pub(crate) const SSE: &str = "/sse";
pub(crate) const SOCKET: &str = "/socket";
/// Between the lines of a stream.
pub(crate) const BEAT: Duration = Duration::from_millis(100);
/// What a request takes to answer.
const WORK: Duration = Duration::from_millis(5);

pub(crate) struct Targets {
    addresses: Vec<[SocketAddr; 2]>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Requests carried out, whether the answer arrived or not.
    executed: AtomicU64,
    end_streams: CancellationToken,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Target {
    signature: HeaderValue,
    shared: Arc<Shared>,
}

type Body = Either<Full<Bytes>, Lines>;

impl Targets {
    pub(crate) fn start(agents: u16) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut addresses = Vec::new();
        for agent in 0..usize::from(agents) {
            let mut pair = [SocketAddr::from(([127, 0, 0, 1], 0)); 2];
            for (side, address) in SIDES.into_iter().zip(&mut pair) {
                let listener = TcpListener::bind((fleet::instance(agent, side).address(), 0));
                let listener = listener.with_context(|| format!("cannot listen for the {side} of agent {agent}"))?;
                *address = listener.local_addr()?;
                let signature = HeaderValue::try_from(fleet::signature(agent, side))?;
                listen(&runtime, listener, Arc::new(Target { signature, shared: shared.clone() }))?;
            }
            addresses.push(pair);
        }
        let stop = shared.stop.clone();
        let thread =
            std::thread::Builder::new().name("targets".to_owned()).spawn(move || runtime.block_on(stop.cancelled()))?;
        Ok(Self { addresses, shared, thread })
    }

    pub(crate) fn addresses(&self) -> &[[SocketAddr; 2]] {
        &self.addresses
    }

    /// Lets those streams come to their end that have no end of their own.
    pub(crate) fn end_streams(&self) {
        self.shared.end_streams.cancel();
    }

    /// Returns how many requests were carried out.
    pub(crate) fn stop(self) -> anyhow::Result<u64> {
        self.shared.stop.cancel();
        self.thread.join().map_err(|_panic| anyhow!("the targets panicked"))?;
        Ok(self.shared.executed.load(Ordering::Relaxed))
    }
}

fn listen(runtime: &Runtime, listener: TcpListener, target: Arc<Target>) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let _inside = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let tasks = target.shared.tasks.clone();
    tasks.spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(target.shared.tasks.spawn(serve(stream, target.clone()))),
                Err(error) => {
                    eprintln!("a target cannot accept: {error}");
                    tokio::time::sleep(BEAT).await;
                }
            }
        }
    });
    Ok(())
}

async fn serve(stream: TcpStream, target: Arc<Target>) {
    // Without it, answers are late by what the kernel waits for more; the clients would see it.
    drop(stream.set_nodelay(true));
    let service = service_fn(|request| {
        let target = target.clone();
        async move { Ok::<_, Infallible>(answer(&target, request).await) }
    });
    // How it ends is the clients' business: their ledger says what they did not get.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await);
}

async fn answer(target: &Target, request: Request<Incoming>) -> Response<Body> {
    let mut response = match request.uri().path() {
        POST => echo(target, request).await,
        NDJSON => stream(target, &request, Form::NdJson),
        SSE => stream(target, &request, Form::Sse),
        SOCKET => socket::accept(&target.shared.tasks, request).map(Either::Left),
        _ => status(StatusCode::NOT_FOUND),
    };
    response.headers_mut().insert(ANSWERED_BY, target.signature.clone());
    response
}

/// What came goes back, after a while.
async fn echo(target: &Target, request: Request<Incoming>) -> Response<Body> {
    let Ok(body) = request.into_body().collect().await else { return status(StatusCode::BAD_REQUEST) };
    target.shared.executed.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(WORK).await;
    Response::new(Either::Left(Full::new(body.to_bytes())))
}

fn stream(target: &Target, request: &Request<Incoming>, form: Form) -> Response<Body> {
    let lines = request.headers().get(LINES).and_then(|lines| lines.to_str().ok()?.parse().ok());
    let mut response = Response::new(Either::Right(Lines::new(form, lines, &target.shared.end_streams)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response
}
