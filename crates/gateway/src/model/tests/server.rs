//! A model server that does as its script says, written on bare sockets so that it can break the rules.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A streamed answer of two lines.
pub(super) const LINES: [&str; 2] = [
    "{\"response\":\"hel\",\"done\":false}\n",
    "{\"response\":\"lo\",\"done\":true,\"prompt_eval_count\":11,\"eval_count\":2,\"load_duration\":7000000000}\n",
];

/// What the second of them says of the time to load.
pub(super) const LOAD: Duration = Duration::from_secs(7);

#[derive(Clone, Default)]
pub(super) struct Script {
    /// Answers with the last line alone, as one object of known length.
    pub(super) whole: bool,
    /// Before the first byte of an answer.
    pub(super) think: Duration,
    /// Holds every answer after its first line until [`Server::resume`].
    pub(super) pause_after_first: bool,
    /// Ends answers in the middle of the second line.
    pub(super) cut: bool,
    /// Ends them as HTTP prescribes nevertheless.
    pub(super) cut_cleanly: bool,
    /// So many calls are answered 503 first.
    pub(super) busy: usize,
    /// Closes each connection as soon as it has answered, without saying so.
    pub(super) close_idle: bool,
    /// Does not close the connection of a caller that has gone, until [`Server::resume`].
    pub(super) clings: bool,
    /// Calls whose body holds this text are answered with this status.
    pub(super) refuses: Option<(&'static str, u16)>,
}

#[derive(Clone, Debug)]
pub(super) struct Seen {
    head: String,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn is_load(&self) -> bool {
        self.body.contains("keep_alive")
    }

    fn is_read(&self) -> bool {
        self.head.starts_with("GET") || self.head.starts_with("HEAD")
    }

    /// The gateway's own questions, which nobody has asked it to put.
    fn is_look(&self) -> bool {
        self.is_read() && self.header("x-agent").is_none()
    }
}

#[derive(Clone)]
pub(super) struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    script: Script,
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
    peak: AtomicUsize,
    connections: AtomicUsize,
    busy: AtomicUsize,
    resumed: watch::Sender<bool>,
}

impl Server {
    pub(super) async fn start(script: Script) -> Self {
        Self::start_at("127.0.0.1:0", script).await
    }

    pub(super) async fn start_at(address: &str, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            busy: AtomicUsize::new(script.busy),
            script,
            seen: Mutex::default(),
            open: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            resumed: watch::Sender::new(false),
        });
        let serving = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                serving.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(connection(Arc::clone(&serving), stream));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Calls under way, loads and readings apart.
    pub(super) fn open_calls(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    pub(super) fn peak(&self) -> usize {
        self.state.peak.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(super) fn resume(&self) {
        self.state.resumed.send_replace(true);
    }
}

async fn connection(state: Arc<State>, stream: TcpStream) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(seen) = request(&mut read).await {
        let (is_load, is_read) = (seen.is_load(), seen.is_read());
        let path_is_v1 = seen.head.contains(" /v1/");
        let is_head = seen.head.starts_with("HEAD");
        let refusal = state.script.refuses.filter(|(text, _)| seen.body.contains(text)).map(|(_, status)| status);
        if !seen.is_look() {
            state.seen.lock().unwrap().push(seen);
        }
        if is_load || is_read {
            let body = if is_head { "" } else { "{\"done\":true}" };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n";
            if write.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                return;
            }
        } else {
            let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
            state.peak.fetch_max(open, Ordering::SeqCst);
            // As a real server does, notice in the midst of an answer that the caller has gone.
            let goes_on = tokio::select! {
                goes_on = answer(&state, refusal, path_is_v1, &mut write) => goes_on,
                _ = read.fill_buf() => {
                    if state.script.clings {
                        state.resumed.subscribe().wait_for(|&resumed| resumed).await.ok();
                    }
                    false
                }
            };
            state.open.fetch_sub(1, Ordering::SeqCst);
            if !goes_on {
                return;
            }
        }
        if state.script.close_idle {
            return;
        }
    }
}

async fn request(read: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Seen> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if read.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let mut seen = Seen { head, body: String::new() };
    let length: usize = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}

/// False if the connection has to be closed.
async fn answer(state: &State, refusal: Option<u16>, v1: bool, write: &mut (impl AsyncWriteExt + Unpin)) -> bool {
    let script = &state.script;
    if let Some(status) = refusal {
        let head =
            format!("HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        return write.write_all(head.as_bytes()).await.is_ok();
    }
    tokio::time::sleep(script.think).await;
    if state.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |busy| busy.checked_sub(1)).is_ok() {
        let body = "{\"error\":\"server busy, please try again\"}";
        let head = format!("HTTP/1.1 503 Busy\r\ncontent-length: {}\r\n\r\n", body.len());
        return write.write_all(format!("{head}{body}").as_bytes()).await.is_ok();
    }
    if script.whole {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", LINES[1].len());
        return write.write_all(format!("{head}{}", LINES[1]).as_bytes()).await.is_ok();
    }
    let content_type = if v1 { "text/event-stream" } else { "application/x-ndjson" };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n");
    let lines: [String; 2] = if v1 {
        ["data: {\"choices\":[]}\n\n".to_owned(), "data: [DONE]\n\n".to_owned()]
    } else {
        LINES.map(str::to_owned)
    };
    let mut ok = write.write_all(head.as_bytes()).await.is_ok();
    ok &= chunk(write, &lines[0]).await;
    if script.pause_after_first {
        state.resumed.subscribe().wait_for(|&resumed| resumed).await.ok();
    }
    if script.cut {
        ok &= chunk(write, &lines[1][..5]).await;
        return ok && script.cut_cleanly && write.write_all(b"0\r\n\r\n").await.is_ok();
    }
    ok &= chunk(write, &lines[1]).await;
    ok && write.write_all(b"0\r\n\r\n").await.is_ok()
}

async fn chunk(write: &mut (impl AsyncWriteExt + Unpin), text: &str) -> bool {
    write.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.is_ok()
}
