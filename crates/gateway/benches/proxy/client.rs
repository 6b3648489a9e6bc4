//! The load: connections on one thread, each with one request or one stream at a time, and counts of what came back.
//!
//! It writes the same bytes again and again and reads no more of an answer than it needs to know that it is right.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    fleet,
    route::Route,
    upstream::{self, BEAT},
};

const REQUEST_BYTES: usize = 1024;
const BUFFER_BYTES: usize = 16 << 10;
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// One request after the other.
    Posts,
    /// One answer without end, with so many milliseconds between its lines.
    Stream { beat_ms: u32 },
}

pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    counts: Counters,
    trouble: Mutex<Option<String>>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Counters {
    opened: AtomicU64,
    pieces: AtomicU64,
    reads: AtomicU64,
}

/// What came back so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    /// Connections that have begun to get something.
    pub(crate) opened: u64,
    /// Whole answers, or lines of a stream.
    pub(crate) pieces: u64,
    /// How often something was there to be read. Fewer than lines if a proxy puts several together.
    pub(crate) reads: u64,
}

impl Load {
    pub(crate) fn start(route: &Route, kind: Kind, connections: u32) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (request, address, on_thread) = (request(route, kind), route.address, shared.clone());
        let thread = thread::Builder::new().name("load".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for _ in 0..connections {
                    tasks.spawn(connection(on_thread.clone(), address, kind, request.clone()));
                }
                tokio::select! {
                    _ = tasks.join_all() => {}
                    () = on_thread.stop.cancelled() => {}
                }
            });
        })?;
        Ok(Self { shared, thread })
    }

    /// Fails if any answer was not as it should be.
    pub(crate) fn counts(&self) -> anyhow::Result<Counts> {
        if let Some(trouble) = &*self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            bail!("{trouble}");
        }
        let Counters { opened, pieces, reads } = &self.shared.counts;
        let [opened, pieces, reads] = [opened, pieces, reads].map(|it| it.load(Ordering::Relaxed));
        Ok(Counts { opened, pieces, reads })
    }

    pub(crate) fn wait_for(&self, opened: u32, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        while self.counts()?.opened < u64::from(opened) {
            if Instant::now() > deadline {
                bail!("{} of {opened} connections got an answer in time", self.counts()?.opened);
            }
            thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Leaves, whatever is under way.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.counts()?;
        self.shared.stop.cancel();
        self.thread.join().map_err(|_panic| anyhow!("the load panicked"))
    }
}

/// As a common client would send it.
fn request(route: &Route, kind: Kind) -> Bytes {
    let (path, beat) = match kind {
        Kind::Posts => ("/api/generate", String::new()),
        Kind::Stream { beat_ms } => ("/api/chat", format!("{BEAT}: {beat_ms}\r\n")),
    };
    let frame = format!("{{\"model\":\"{}\",\"prompt\":\"\"}}", fleet::MODEL);
    let body = frame.replace("\"\"", &format!("\"{}\"", "x".repeat(REQUEST_BYTES - frame.len())));
    Bytes::from(format!(
        "POST {}{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\
         Content-Type: application/json\r\n{beat}Content-Length: {}\r\n\r\n{body}",
        route.prefix(),
        route.address,
        body.len(),
    ))
}

async fn connection(shared: Arc<Shared>, address: SocketAddr, kind: Kind, request: Bytes) {
    let ended = match kind {
        Kind::Posts => posts(&shared.counts, address, &request).await,
        Kind::Stream { .. } => stream(&shared.counts, address, &request).await,
    };
    if let Err(error) = ended {
        shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
    }
}

async fn posts(counts: &Counters, address: SocketAddr, request: &[u8]) -> io::Result<()> {
    let mut stream = connect(address).await?;
    let wanted = upstream::answer();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut first = true;
    loop {
        stream.write_all(request).await?;
        let mut filled = 0;
        while !is_whole(&buffer[..filled], &wanted)? {
            filled += read(counts, &mut stream, &mut buffer[filled..]).await?;
        }
        counts.pieces.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut first) {
            counts.opened.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn stream(counts: &Counters, address: SocketAddr, request: &[u8]) -> io::Result<()> {
    let mut stream = connect(address).await?;
    stream.write_all(request).await?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut filled = 0;
    let head = loop {
        filled += read(counts, &mut stream, &mut buffer[filled..]).await?;
        if let Some(head) = head_bytes(&buffer[..filled])? {
            break head;
        }
    };
    let mut lines = lines(&buffer[head..filled]);
    let mut opened = false;
    loop {
        counts.pieces.fetch_add(lines, Ordering::Relaxed);
        if lines > 0 && !std::mem::replace(&mut opened, true) {
            counts.opened.fetch_add(1, Ordering::Relaxed);
        }
        let read = read(counts, &mut stream, &mut buffer).await?;
        lines = self::lines(&buffer[..read]);
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read(counts: &Counters, stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    match stream.read(into).await? {
        0 if into.is_empty() => Err(io::Error::other("an answer is too long")),
        0 => Err(io::Error::other("an answer broke off")),
        read => {
            counts.reads.fetch_add(1, Ordering::Relaxed);
            Ok(read)
        }
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'}').count() as u64
}

/// Whether the answer is there to its last byte. An error if it is another one.
fn is_whole(bytes: &[u8], wanted: &[u8]) -> io::Result<bool> {
    let Some(head) = head_bytes(bytes)? else { return Ok(false) };
    let body = &bytes[head..];
    if body.len() < wanted.len() {
        return Ok(false);
    }
    if body == wanted { Ok(true) } else { Err(io::Error::other("an answer is not what was sent")) }
}

/// None if the head is not whole yet. An error if it does not say that all went well.
fn head_bytes(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    if bytes.starts_with(b"HTTP/1.1 200 ") {
        return Ok(Some(end + 4));
    }
    let first = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    Err(io::Error::other(format!("an answer begins with {:?}", String::from_utf8_lossy(first))))
}
