//! The machine behind sockets.
//!
//! One lock guards the machine and those who wait for it; one thread wakes it when something is due, because timers of the
//! runtime have milliseconds, and calls may take ten. What a client drops, wherever it stands, leaves the machine at once.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant, SystemTime},
};

use bellwether_core::{id::ModelName, time::Nanos};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::{
    Method, StatusCode,
    body::{Body, Frame, Incoming},
    header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    Params,
    ask::{Ask, Kind},
    machine::{CallId, Machine, Notice, Shape, Work},
    reply::Reply,
};

const BODY_MAX: usize = 32 << 20;
/// When the client will have gone, in microseconds since the Unix epoch. It changes what is counted, and nothing else.
const LEAVES_AT: HeaderName = HeaderName::from_static("x-leaves-at");

type Response = hyper::Response<Either<Full<Bytes>, Stream>>;

/// Serves until it is dropped.
pub(crate) async fn serve(
    listener: TcpListener,
    shape: Shape,
    params: Params,
    models: Vec<ModelName>,
) -> io::Result<()> {
    let office = Arc::new(Office::new(shape, params, models));
    let mut tasks = JoinSet::new();
    let _clock = Clock::start(&office)?;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(connection(Arc::clone(&office), stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    // Out of file descriptors, most likely: let some of them go first.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    return Err(io::Error::other(error));
                }
            }
        }
    }
}

async fn connection(office: Arc<Office>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection stays delayed");
    }
    let service = service_fn(|request| {
        let office = Arc::clone(&office);
        async move { Ok::<_, Infallible>(office.answer(request).await) }
    });
    let served = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The thread that lets things happen when they are due. Ends when this is dropped.
struct Clock(Arc<Office>);

impl Clock {
    fn start(office: &Arc<Office>) -> io::Result<Self> {
        let keeper = Arc::clone(office);
        thread::Builder::new().name("clock".to_owned()).spawn(move || keeper.keep_time())?;
        Ok(Self(Arc::clone(office)))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.desk().over = true;
        self.0.rearm.notify_one();
    }
}

struct Office {
    desk: Mutex<Desk>,
    /// Something is due earlier than it was.
    rearm: Condvar,
    origin: Instant,
    params: Params,
    models: Vec<ModelName>,
}

struct Desk {
    machine: Machine,
    /// A call's notices are as many as its tokens, so they need no bound of their own.
    callers: HashMap<CallId, mpsc::UnboundedSender<Notice>>,
    next: CallId,
    over: bool,
}

impl Desk {
    fn tell(&mut self) {
        while let Some((call, notice)) = self.machine.poll() {
            if let Some(caller) = self.callers.get(&call) {
                // One that is just leaving does not need to know.
                caller.send(notice).ok();
            }
            if notice != Notice::Token {
                self.callers.remove(&call);
            }
        }
    }
}

impl Office {
    fn new(shape: Shape, params: Params, models: Vec<ModelName>) -> Self {
        let machine = Machine::new(shape, params.clone());
        let desk = Desk { machine, callers: HashMap::new(), next: 1, over: false };
        Self { desk: Mutex::new(desk), rearm: Condvar::new(), origin: Instant::now(), params, models }
    }

    fn keep_time(&self) {
        let mut desk = self.desk();
        while !desk.over {
            let now = self.now();
            desk.machine.advance(now);
            desk.tell();
            desk = match desk.machine.timeout() {
                None => self.rearm.wait(desk).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let span = Duration::from_nanos(due.0.saturating_sub(now.0));
                    self.rearm.wait_timeout(desk, span).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn submit(self: &Arc<Self>, work: Work) -> Ticket {
        let (sender, notices) = mpsc::unbounded_channel();
        let mut desk = self.desk();
        let id = desk.next;
        desk.next += 1;
        desk.callers.insert(id, sender);
        desk.machine.arrive(self.now(), id, work);
        desk.tell();
        drop(desk);
        self.rearm.notify_one();
        Ticket { office: Arc::clone(self), id, notices, open: true }
    }

    fn leave(&self, id: CallId) {
        let mut desk = self.desk();
        desk.callers.remove(&id);
        desk.machine.leave(self.now(), id);
        desk.tell();
        drop(desk);
        self.rearm.notify_one();
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    async fn answer(self: Arc<Self>, request: hyper::Request<Incoming>) -> Response {
        let (head, body) = request.into_parts();
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !is_allowed_host(host) {
            return plain(StatusCode::FORBIDDEN, "");
        }
        let path = head.uri.path();
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        match path {
            "/" if reads => plain(StatusCode::OK, "Ollama is running (simulated: there is no model)"),
            "/api/version" if reads => object(StatusCode::OK, &json!({"version": "0.0.0", "simulated": true})),
            "/api/tags" if reads => {
                let models: Vec<Value> = self.models.iter().map(described).collect();
                object(StatusCode::OK, &json!({"models": models}))
            }
            "/api/ps" if reads => object(StatusCode::OK, &self.resident()),
            "/sim/figures" if reads => object(StatusCode::OK, &json!(self.desk().machine.ledger())),
            "/v1/models" if reads => {
                let of =
                    |model: &ModelName| json!({"id": model, "object": "model", "created": 0, "owned_by": "library"});
                let data: Vec<Value> = self.models.iter().map(of).collect();
                object(StatusCode::OK, &json!({"object": "list", "data": data}))
            }
            "/api/show" if head.method == Method::POST => match read(body).await {
                Ok(body) => self.show(&body),
                Err(refusal) => *refusal,
            },
            _ => match Kind::of(path) {
                Some(kind) if head.method == Method::POST => match read(body).await {
                    Ok(body) => self.infer(kind, self.leaves(&head.headers), &body).await,
                    Err(refusal) => *refusal,
                },
                Some(_) => plain(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed"),
                None => plain(StatusCode::NOT_FOUND, "404 page not found"),
            },
        }
    }

    /// What the client says of itself, on this server's clock.
    fn leaves(&self, headers: &HeaderMap) -> Option<Nanos> {
        let at_us: u64 = headers.get(LEAVES_AT)?.to_str().ok()?.parse().ok()?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(at_us))?;
        let now = self.now().0;
        Some(match at.duration_since(SystemTime::now()) {
            Ok(later) => Nanos(now.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX))),
            Err(earlier) => Nanos(now.saturating_sub(u64::try_from(earlier.duration().as_nanos()).unwrap_or(u64::MAX))),
        })
    }

    async fn infer(self: &Arc<Self>, kind: Kind, leaves: Option<Nanos>, body: &[u8]) -> Response {
        let mut ask = match Ask::parse(kind, body, &self.params) {
            Ok(ask) => ask,
            Err(message) => return failed(kind.is_openai(), StatusCode::BAD_REQUEST, &message),
        };
        if !self.models.contains(&ask.model) {
            let message = format!("model '{}' not found", ask.named);
            return failed(kind.is_openai(), StatusCode::NOT_FOUND, &message);
        }
        ask.work.leaves = leaves;
        let mut ticket = self.submit(ask.work.clone());
        let mut reply = Reply::new(ask, ticket.id, jiff::Timestamp::now());
        loop {
            match ticket.notices.recv().await {
                Some(Notice::Token) => {
                    if let Some(first) = reply.token() {
                        return stream(Stream { ticket, reply, first: Some(first) });
                    }
                }
                Some(Notice::Finished(timing)) => {
                    ticket.open = false;
                    if reply.is_stream() {
                        let first = Some(reply.finish(timing));
                        return stream(Stream { ticket, reply, first });
                    }
                    return text(StatusCode::OK, reply.content_type(), reply.finish(timing));
                }
                Some(Notice::Refused) | None => {
                    ticket.open = false;
                    let message = "server busy, please try again.  maximum pending requests exceeded";
                    return failed(kind.is_openai(), StatusCode::SERVICE_UNAVAILABLE, message);
                }
            }
        }
    }

    fn resident(&self) -> Value {
        let desk = self.desk();
        let of = |model: &ModelName| {
            let mut value = described(model);
            value["size_vram"] = value["size"].clone();
            value["expires_at"] = json!("2318-01-01T00:00:00Z");
            value
        };
        let models: Vec<Value> = desk.machine.resident().map(|runs| of(&ModelName::new(&runs.model))).collect();
        json!({"models": models})
    }

    fn show(&self, body: &[u8]) -> Response {
        let named = serde_json::from_slice::<Value>(body).ok();
        let named = named.as_ref().and_then(|value| value.get("model").or_else(|| value.get("name"))?.as_str());
        let Some(named) = named else { return failed(false, StatusCode::BAD_REQUEST, "model is required") };
        let model = ModelName::new(named);
        if !self.models.contains(&model) {
            return failed(false, StatusCode::NOT_FOUND, &format!("model '{named}' not found"));
        }
        let mut shown = described(&model);
        shown["modelfile"] = json!("# simulated: there is no model");
        shown["parameters"] = json!("");
        shown["template"] = json!("{{ .Prompt }}");
        shown["model_info"] = json!({"general.architecture": "simulated"});
        shown["capabilities"] = json!(["completion"]);
        object(StatusCode::OK, &shown)
    }
}

/// A call's place in the machine, given up when dropped.
struct Ticket {
    office: Arc<Office>,
    id: CallId,
    notices: mpsc::UnboundedReceiver<Notice>,
    open: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.office.leave(self.id);
        }
    }
}

/// An answer that is written token by token.
struct Stream {
    ticket: Ticket,
    reply: Reply,
    first: Option<String>,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = |text: String| Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
        if let Some(first) = self.first.take() {
            return frame(first);
        }
        if !self.ticket.open {
            return Poll::Ready(None);
        }
        loop {
            match self.ticket.notices.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Notice::Token)) => {
                    if let Some(line) = self.reply.token() {
                        return frame(line);
                    }
                }
                Poll::Ready(Some(Notice::Finished(timing))) => {
                    self.ticket.open = false;
                    return frame(self.reply.finish(timing));
                }
                Poll::Ready(Some(Notice::Refused) | None) => {
                    self.ticket.open = false;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

async fn read(body: Incoming) -> Result<Bytes, Box<Response>> {
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(Box::new(failed(false, StatusCode::BAD_REQUEST, &error.to_string()))),
    }
}

/// As the real server, which answers to local names only.
fn is_allowed_host(host: &str) -> bool {
    let name = host
        .rsplit_once(':')
        .map_or(host, |(name, port)| if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host });
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.is_empty()
        || bare == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok()
        || [".localhost", ".local", ".internal"].iter().any(|suffix| bare.ends_with(suffix))
}

fn described(model: &ModelName) -> Value {
    json!({
        "name": model,
        "model": model,
        "modified_at": "2026-01-01T00:00:00Z",
        "size": 1,
        "digest": blake3::hash(model.as_str().as_bytes()).to_hex().as_str(),
        "details": {
            "parent_model": "", "format": "simulated", "family": "simulated", "families": ["simulated"],
            "parameter_size": "0", "quantization_level": "none",
        },
    })
}

fn failed(openai: bool, status: StatusCode, message: &str) -> Response {
    if openai {
        let error = json!({"message": message, "type": "api_error", "param": null, "code": null});
        object(status, &json!({"error": error}))
    } else {
        object(status, &json!({"error": message}))
    }
}

fn object(status: StatusCode, value: &Value) -> Response {
    text(status, "application/json; charset=utf-8", value.to_string())
}

fn plain(status: StatusCode, message: &str) -> Response {
    text(status, "text/plain; charset=utf-8", message.to_owned())
}

fn text(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let mut response = hyper::Response::new(Either::Left(Full::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn stream(stream: Stream) -> Response {
    let content_type = stream.reply.content_type();
    let mut response = hyper::Response::new(Either::Right(stream));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests;
