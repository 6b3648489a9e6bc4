//! A request that goes straight through to the model server: it takes no slot, waits for no turn, and nothing of it is read.
//!
//! For what the queue is not for: management and cloud models where they are allowed, and everything under `--bypass`. Each
//! request has a connection of its own, because a body that streams cannot be sent a second time and so must not meet a
//! connection that the server is about to close. Whoever reads the answer drives the connection: one who leaves takes it along.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    StatusCode,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    client::conn::http1::{self, Connection, SendRequest},
    header::{EXPECT, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::{route, upstream::Target};
use crate::{
    body::{BoxError, Response},
    hop,
};

const DIAL_LIMIT: Duration = Duration::from_secs(5);
/// For the look at a server before anybody calls it.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

pub(crate) struct Straight {
    target: Result<Target, String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPassed {
    #[error("{0}")]
    Url(String),
    #[error("the model server cannot be reached: {0}")]
    Connect(#[source] io::Error),
    #[error("the model server broke off before it answered: {0}")]
    Exchange(#[source] hyper::Error),
    #[error("it did not answer within {} s", LOOK_LIMIT.as_secs())]
    Late,
    #[error("it answers {0}")]
    Status(StatusCode),
}

impl Straight {
    pub(crate) fn new(url: &str) -> Self {
        Self { target: Target::parse(url) }
    }

    /// The server's answer, or the gateway's own that there is none. `path_and_query` as the model server knows it.
    pub(crate) async fn answer<B>(&self, path_and_query: &str, request: hyper::Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let dialect = route::classify(request.method(), path_and_query).1;
        match self.pass(path_and_query, request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(%error, path = path_and_query, "a request was not answered");
                dialect.answer(StatusCode::BAD_GATEWAY, &error.to_string())
            }
        }
    }

    /// Whether the server answers at this moment. It may still be unable to generate.
    pub(crate) async fn look(&self) -> Result<(), NotPassed> {
        let request = hyper::Request::new(Empty::<Bytes>::new());
        let asked = timeout(LOOK_LIMIT, self.pass("/api/version", request));
        let status = asked.await.map_err(|_late| NotPassed::Late)??.status();
        // A proxy that answers in its stead says so with one of these.
        if status.is_server_error() { Err(NotPassed::Status(status)) } else { Ok(()) }
    }

    async fn pass<B>(&self, path_and_query: &str, request: hyper::Request<B>) -> Result<Response, NotPassed>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let target = self.target.as_ref().map_err(|reason| NotPassed::Url(reason.clone()))?;
        let (mut head, body) = request.into_parts();
        hop::strip(&mut head.headers);
        // The gateway has answered it by reading the body.
        head.headers.remove(EXPECT);
        head.headers.insert(HOST, target.header.clone());
        let mut outgoing = hyper::Request::new(body);
        *outgoing.method_mut() = head.method;
        let path = format!("{}{path_and_query}", target.prefix);
        *outgoing.uri_mut() = path.parse().map_err(|error| NotPassed::Url(format!("{path} is not a path: {error}")))?;
        *outgoing.headers_mut() = head.headers;

        let mut line = Line::open(target).await?;
        let mut answer = pin!(line.sender.send_request(outgoing));
        let answered = poll_fn(|context| {
            line.drive(context);
            answer.as_mut().poll(context)
        });
        let (mut head, body) = answered.await.map_err(NotPassed::Exchange)?.into_parts();
        hop::strip(&mut head.headers);
        Ok(Response::from_parts(head, Driven { body, line }.boxed_unsync()))
    }
}

type Driver<B> = Connection<TokioIo<TcpStream>, B>;

/// One connection, whose bytes move when whoever waits for them is polled.
struct Line<B>
where
    B: HttpBody + 'static,
{
    sender: SendRequest<B>,
    /// None once it has ended.
    connection: Option<Pin<Box<Driver<B>>>>,
}

impl<B> Line<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    async fn open(target: &Target) -> Result<Self, NotPassed> {
        let dialled = timeout(DIAL_LIMIT, TcpStream::connect((target.host.as_str(), target.port))).await;
        let stream = dialled.map_err(|_late| NotPassed::Connect(io::ErrorKind::TimedOut.into()))?;
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)).map_err(NotPassed::Connect)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(NotPassed::Exchange)?;
        Ok(Self { sender, connection: Some(Box::pin(connection)) })
    }

    /// How it ended is told by the answer or its body.
    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            self.connection = None;
        }
    }
}

struct Driven<B>
where
    B: HttpBody + 'static,
{
    body: Incoming,
    line: Line<B>,
}

impl<B> HttpBody for Driven<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        this.line.drive(context);
        Pin::new(&mut this.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
