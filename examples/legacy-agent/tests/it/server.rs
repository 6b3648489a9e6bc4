//! A backend of a few lines: answers each request by a rule and remembers what it saw.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) body: String,
}

type Log = Arc<(Mutex<Vec<Seen>>, Condvar)>;

pub(crate) struct Server {
    address: SocketAddr,
    log: Log,
}

impl Server {
    /// The rule gets each request and how many went to the same path before.
    pub(crate) fn start(rule: impl Fn(&Seen, usize) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Log::default();
        let writer = log.clone();
        thread::spawn(move || {
            let mut counts = HashMap::<String, usize>::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(seen) = read(&stream) else { continue };
                let nth = counts.entry(seen.path.clone()).or_default();
                let (status, body) = rule(&seen, *nth);
                *nth += 1;
                writer.0.lock().unwrap().push(seen);
                writer.1.notify_all();
                let length = body.len();
                // The agent may have given up on the answer.
                drop(write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}"));
            }
        });
        Self { address, log }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, which: impl Fn(&Seen) -> bool) -> usize {
        self.seen().iter().filter(|seen| which(seen)).count()
    }

    /// The first request of the kind, when it has come.
    pub(crate) fn wait(&self, limit: Duration, which: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = Instant::now() + limit;
        let (seen, grown) = &*self.log;
        let mut seen = seen.lock().unwrap();
        loop {
            if let Some(found) = seen.iter().find(|seen| which(seen)) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not seen in time; seen: {seen:#?}");
            seen = grown.wait_timeout(seen, left).unwrap().0;
        }
    }
}

fn read(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { path, body: String::from_utf8(body).ok()? })
}
