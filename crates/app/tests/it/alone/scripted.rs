//! A server that keeps what it was sent, byte for byte, and answers as it is told.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// What follows the first part of an answer waits for this long at most.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Request line and headers.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Nobody but the gateway wants to know.
    fn is_look(&self) -> bool {
        let own = self.header("user-agent").is_some_and(|agent| agent.starts_with("bellwether/"));
        self.line().contains(" /api/version ") || (own && self.line().starts_with("GET "))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Answers the gateway's own looks by itself.
pub(super) struct Scripted {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    go_on: mpsc::Sender<()>,
}

impl Scripted {
    /// Each request is answered with these parts, the head of the answer included, and the connection closed. Between two
    /// parts it waits for [`Self::go_on`]. Its threads end with the test.
    pub(super) fn start(parts: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it has one"));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (go_on, going_on) = mpsc::channel();
        let going_on = Arc::new(Mutex::new(going_on));
        let heard = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, going_on) = (heard.clone(), going_on.clone());
                // A client that leaves early ends its exchange.
                thread::spawn(move || drop(exchange(stream, parts, &heard, &going_on)));
            }
        });
        Self { url, asked, go_on }
    }

    pub(super) fn go_on(&self) {
        self.go_on.send(()).expect("the server lives as long as the test");
    }

    /// All that was asked, the gateway's own looks apart.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn exchange(
    mut stream: TcpStream,
    parts: &[&str],
    heard: &Mutex<Vec<Asked>>,
    going_on: &Mutex<mpsc::Receiver<()>>,
) -> std::io::Result<()> {
    let asked = read(&mut BufReader::new(stream.try_clone()?))?;
    if asked.is_look() {
        return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
    }
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            let waiting = going_on.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.recv_timeout(PATIENCE).map_err(std::io::Error::other)?;
        }
        stream.write_all(part.as_bytes())?;
    }
    Ok(())
}

fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let asked = Asked { head, body: Vec::new() };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Asked { body, ..asked })
}
