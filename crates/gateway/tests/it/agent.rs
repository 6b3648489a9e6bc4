//! An agent that serves HTTP, as far as these tests need one.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinHandle,
};

/// Answers with its name, or streams what the test feeds it.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    /// Heads of requests, as they arrived.
    pub(crate) seen: Arc<Mutex<Vec<hyper::http::request::Parts>>>,
    /// Feeds the body of `/stream`.
    pub(crate) feed: mpsc::Sender<Bytes>,
    /// Lets one request to `/slow` go on.
    pub(crate) go: Arc<Notify>,
    accepting: JoinHandle<()>,
}

struct Feed(mpsc::Receiver<Bytes>);

impl Body for Feed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // An empty piece is the end.
        self.0.poll_recv(context).map(|piece| piece.filter(|it| !it.is_empty()).map(|it| Ok(Frame::data(it))))
    }
}

impl Agent {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::at(name, (Ipv4Addr::LOCALHOST, 0).into()).await
    }

    pub(crate) async fn at(name: &'static str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::default());
        let go = Arc::new(Notify::new());
        let (feed, fed) = mpsc::channel(16);
        let state = (name, Arc::clone(&seen), Arc::new(Mutex::new(Some(Feed(fed)))), Arc::clone(&go));
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = state.clone();
                let service = service_fn(move |request| {
                    let (name, seen, feed, go) = state.clone();
                    async move { Ok::<_, Infallible>(answer(name, &seen, &feed, &go, request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, seen, feed, go, accepting }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(
    name: &'static str,
    seen: &Mutex<Vec<hyper::http::request::Parts>>,
    feed: &Mutex<Option<Feed>>,
    go: &Notify,
    request: Request<Incoming>,
) -> Response<UnsyncBoxBody<Bytes, hyper::Error>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    seen.lock().unwrap().push(head);
    match path.as_str() {
        "/echo" => Response::builder().header("x-agent", name).body(body.boxed_unsync()).unwrap(),
        "/stream" => {
            let feed = feed.lock().unwrap().take().expect("one stream per agent");
            Response::new(feed.map_err(|never| match never {}).boxed_unsync())
        }
        "/broken" => {
            // The length is a lie, so that the end comes too early.
            let half = feed.lock().unwrap().take().expect("one stream per agent");
            let half = half.map_err(|never| match never {}).boxed_unsync();
            Response::builder().header("content-length", "8").body(half).unwrap()
        }
        other => {
            let body = body.collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
            // A call that only loads the model has no prompt.
            let prompts = body.windows(8).any(|part| part == b"\"prompt\"");
            let is_poison = body.windows(6).any(|part| part == b"poison");
            if other == "/slow" || prompts && !is_poison {
                go.notified().await;
            }
            let text = http_body_util::Full::new(Bytes::from_static(name.as_bytes()));
            let response = Response::builder()
                .status(if other == "/fails" || is_poison { 500 } else { 200 })
                .header("connection", "x-private")
                .header("x-private", "1");
            response.body(text.map_err(|never| match never {}).boxed_unsync()).unwrap()
        }
    }
}

/// Serves WebSockets that answer each message with its name before it.
pub(crate) async fn websocket(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    let Ok(text) = message.into_text() else { return };
                    if socket.send(format!("{name}:{text}").into()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
