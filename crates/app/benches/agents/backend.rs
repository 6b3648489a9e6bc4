//! A backend and a model server in this process, as small as they can be: they answer what agents ask, and count.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

/// As the gateway holds a question of a client that says nothing.
const HOLD: Duration = Duration::from_secs(8);
/// How long the model takes for an answer, and in how many pieces it comes.
const CALL: Duration = Duration::from_secs(2);
const PIECES: u32 = 20;
const PROMPT_BYTES: usize = 1000;

pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

/// What has come since the start.
pub(crate) struct Seen {
    pub(crate) registered: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) calls: AtomicU64,
    pub(crate) completed: AtomicU64,
    /// Questions for a task.
    pub(crate) asked: AtomicU64,
    busy: AtomicBool,
    became_busy: Notify,
    /// Single tasks that are to be given to whoever asks.
    singles: Semaphore,
    called: Notify,
}

impl Seen {
    fn new() -> Self {
        Self {
            registered: AtomicU64::default(),
            requests: AtomicU64::default(),
            calls: AtomicU64::default(),
            completed: AtomicU64::default(),
            asked: AtomicU64::default(),
            busy: AtomicBool::default(),
            became_busy: Notify::new(),
            singles: Semaphore::new(0),
            called: Notify::new(),
        }
    }

    /// Whether there is always a task.
    pub(crate) fn keep_busy(&self, busy: bool) {
        self.busy.store(busy, Relaxed);
        self.became_busy.notify_waiters();
    }

    /// From a task that is handed to an agent that has been idle to its model call. None if none came.
    pub(crate) async fn wake_one(&self) -> Option<Duration> {
        let called = self.called.notified();
        let began = Instant::now();
        self.singles.add_permits(1);
        timeout(Duration::from_secs(20), called).await.ok()?;
        Some(began.elapsed())
    }
}

impl Backend {
    /// On a thread of its own, for as long as this process lives.
    pub(crate) fn start() -> Result<Self, String> {
        let seen = Arc::new(Seen::new());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let served = seen.clone();
        thread::spawn(move || runtime.block_on(accept(listener, served)));
        Ok(Self { address, seen })
    }
}

async fn accept(listener: std::net::TcpListener, seen: Arc<Seen>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(BufReader::new(stream), seen.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

struct Request {
    path: String,
    body: Vec<u8>,
    hold: Duration,
    closes: bool,
}

async fn serve(mut stream: BufReader<TcpStream>, seen: Arc<Seen>) -> Option<()> {
    loop {
        let request = read(&mut stream).await?;
        seen.requests.fetch_add(1, Relaxed);
        let path = request.path.as_str();
        if path.contains("api/tasks/next/") {
            next(&mut stream, &seen, request.hold).await?;
        } else if path.ends_with("api/generate") {
            seen.calls.fetch_add(1, Relaxed);
            seen.called.notify_waiters();
            generate(&mut stream, &request.body).await?;
        } else {
            match path {
                "/api/agents/register" => seen.registered.fetch_add(1, Relaxed),
                "/api/tasks/complete" => seen.completed.fetch_add(1, Relaxed),
                _ => 0,
            };
            whole(&mut stream, "{}").await?;
        }
        if request.closes {
            return stream.shutdown().await.ok();
        }
    }
}

async fn next(stream: &mut BufReader<TcpStream>, seen: &Seen, hold: Duration) -> Option<()> {
    let number = seen.asked.fetch_add(1, Relaxed);
    let has_task = {
        let busy = seen.became_busy.notified();
        tokio::pin!(busy);
        busy.as_mut().enable();
        seen.busy.load(Relaxed)
            || tokio::select! {
                () = busy => true,
                Ok(single) = seen.singles.acquire() => {
                    single.forget();
                    true
                }
                () = sleep(hold) => false,
            }
    };
    if !has_task {
        return stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok();
    }
    let prompt = "x".repeat(PROMPT_BYTES);
    whole(stream, &format!(r#"{{"id":"{number}","attempt":1,"prompt":"{prompt}"}}"#)).await
}

async fn generate(stream: &mut BufReader<TcpStream>, body: &[u8]) -> Option<()> {
    let is_stream = !String::from_utf8_lossy(body).contains("\"stream\":false");
    if !is_stream {
        sleep(CALL).await;
        return whole(stream, r#"{"response":"All is well.","done":true,"eval_count":20}"#).await;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.ok()?;
    for piece in 1..=PIECES {
        sleep(CALL / PIECES).await;
        let done = piece == PIECES;
        let line = format!("{{\"model\":\"m\",\"response\":\"word \",\"done\":{done},\"eval_count\":{piece}}}\n");
        stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).await.ok()?;
    }
    stream.write_all(b"0\r\n\r\n").await.ok()
}

async fn whole(stream: &mut BufReader<TcpStream>, body: &str) -> Option<()> {
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.ok()
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut hold, mut closes) = (0, HOLD, false);
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "connection" => closes = value.eq_ignore_ascii_case("close"),
            "prefer" => hold = Duration::from_secs(value.strip_prefix("wait=")?.parse().ok()?),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { path, body, hold, closes })
}
