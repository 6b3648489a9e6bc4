//! What stands behind every proxy: one server on one thread, instance and model server in one.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    task::{Context, Poll, ready},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Interval, MissedTickBehavior, interval, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Milliseconds between two lines of the answer. Without it the answer is a single object.
pub(crate) const BEAT: HeaderName = HeaderName::from_static("x-beat-ms");
pub(crate) const ANSWER_BYTES: usize = 1024;
/// A token as the model server would send it. Each has one closing brace, by which lines are counted.
const LINE: &[u8] =
    b"{\"model\":\"tinyllama:latest\",\"created_at\":\"2026-01-01T00:00:00Z\",\"response\":\" the\",\"done\":false}\n";
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Upstream {
    address: SocketAddr,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

/// The answer to every request that wants no stream.
pub(crate) fn answer() -> Bytes {
    const FRAME: usize = "{\"response\":\"\",\"done\":true}".len();
    Bytes::from(format!("{{\"response\":\"{}\",\"done\":true}}", "x".repeat(ANSWER_BYTES - FRAME)))
}

impl Upstream {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("the upstream cannot listen")?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("upstream".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener) => {}
                    () = stopped.cancelled() => {}
                }
            });
        })?;
        Ok(Self { address, stop, thread })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.thread.join().map_err(|_panic| anyhow!("the upstream panicked"))
    }
}

async fn accept(listener: tokio::net::TcpListener) {
    let tasks = TaskTracker::new();
    let answer = answer();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tasks.spawn(serve(stream, answer.clone()))),
            Err(error) => {
                eprintln!("the upstream cannot accept: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, answer: Bytes) {
    // Without it, chunks are late by what the kernel waits for more, and come together.
    drop(stream.set_nodelay(true));
    let service = service_fn(|request| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(respond(request, answer).await) }
    });
    // How it ends is told by the load, which sees what it did not get.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn respond(request: Request<Incoming>, answer: Bytes) -> Response<Either<Full<Bytes>, Lines>> {
    let beat = request.headers().get(BEAT).and_then(|beat| beat.to_str().ok()?.parse().ok());
    // A request that broke off has nobody who waits for its answer.
    drop(request.into_body().collect().await);
    let (body, form) = match beat {
        Some(ms) => (Either::Right(Lines::every(Duration::from_millis(ms))), "application/x-ndjson"),
        None => (Either::Left(Full::new(answer)), "application/json"),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form));
    response
}

/// One at once, and then one each beat until the reader leaves.
struct Lines(Interval);

impl Lines {
    fn every(beat: Duration) -> Self {
        let mut beats = interval(beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(beats)
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.0.poll_tick(context));
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(LINE)))))
    }
}
