//! A gateway of a few lines: answers each request by a rule and remembers what it saw. It writes its own
//! HTTP, so that it can also break off in the middle.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Without the prefix that names the instance.
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Value,
}

pub(crate) enum Reply {
    Whole(u16, String),
    /// A 200 with further header lines.
    Headed(String, String),
    /// A chunked 200 that ends as it should.
    Stream(Vec<String>),
    /// A chunked 200 that is broken off.
    Cut(Vec<String>),
    /// The connection is closed without an answer.
    Close,
    /// The reply, once a permit is there.
    After(Arc<Semaphore>, Box<Reply>),
}

pub(crate) fn status(status: u16) -> Reply {
    Reply::Whole(status, String::new())
}

pub(crate) fn json(text: impl Into<String>) -> Reply {
    Reply::Whole(200, text.into())
}

/// What Ollama streams for an answer of two pieces.
pub(crate) fn answer(text: &str) -> Reply {
    let (a, b) = text.split_at(text.len() / 2);
    Reply::Stream(vec![
        format!("{{\"response\":{a:?},\"done\":false}}\n{{\"respo"),
        format!("nse\":{b:?},\"done\":false}}\n"),
        "{\"response\":\"\",\"done\":true,\"prompt_eval_count\":3,\"eval_count\":2}\n".into(),
    ])
}

type Rule = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

pub(crate) struct Gateway {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

struct State {
    rule: Box<Rule>,
    seen: Mutex<Vec<Seen>>,
    grown: Notify,
}

impl Gateway {
    /// The rule gets each request and how many went to the same path before.
    pub(crate) async fn start(rule: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { rule: Box::new(rule), seen: Mutex::default(), grown: Notify::new() });
        let server = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/i/TOKEN", self.address)
    }

    pub(crate) fn all(&self, which: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.state.seen.lock().unwrap().iter().filter(|seen| which(seen)).cloned().collect()
    }

    pub(crate) fn to(&self, path: &str) -> Vec<Seen> {
        self.all(|seen| seen.path == path)
    }

    /// When that many requests of the kind have come.
    pub(crate) async fn wait(&self, count: usize, which: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let wait = async {
            loop {
                let grown = self.state.grown.notified();
                let found = self.all(&which);
                if found.len() >= count {
                    return found;
                }
                grown.await;
            }
        };
        match timeout(LIMIT, wait).await {
            Ok(found) => found,
            Err(_elapsed) => panic!("not seen in time; seen: {:#?}", self.all(|_| true)),
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve(BufReader::new(stream), state.clone()));
    }
}

async fn serve(mut stream: BufReader<TcpStream>, state: Arc<State>) -> Option<()> {
    loop {
        let seen = read(&mut stream).await?;
        let mut reply = {
            let mut log = state.seen.lock().unwrap();
            let nth = log.iter().filter(|earlier| earlier.path == seen.path).count();
            let reply = (state.rule)(&seen, nth);
            log.push(seen);
            reply
        };
        state.grown.notify_waiters();
        while let Reply::After(gate, then) = reply {
            gate.acquire().await.unwrap().forget();
            reply = *then;
        }
        match reply {
            Reply::Whole(status, body) => {
                let length = body.len();
                let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
                stream.write_all(text.as_bytes()).await.ok()?;
            }
            Reply::Headed(headers, body) => {
                let length = body.len();
                let text = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
                stream.write_all(text.as_bytes()).await.ok()?;
            }
            Reply::Stream(pieces) => {
                chunks(&mut stream, pieces).await?;
                stream.write_all(b"0\r\n\r\n").await.ok()?;
            }
            Reply::Cut(pieces) => {
                chunks(&mut stream, pieces).await?;
                return None;
            }
            Reply::Close | Reply::After(..) => return None,
        }
    }
}

async fn chunks(stream: &mut BufReader<TcpStream>, pieces: Vec<String>) -> Option<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.ok()?;
    for piece in pieces {
        stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await.ok()?;
    }
    stream.flush().await.ok()
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.strip_prefix("/i/TOKEN/")?.to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Some(Seen { path, headers, body })
}
