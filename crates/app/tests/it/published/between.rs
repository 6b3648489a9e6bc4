//! Stands between the gateway and a server that expects the client's requests and no others. What the gateway asks for itself,
//! to load a model or to see whether the server is there, is answered here.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Each request of the client says this of itself. The gateway's own do not.
const CLIENT: &str = "\nuser-agent: ollama-python/";
const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\nconnection: close\r\n\r\n\
                    {\"done\": true}";

pub(super) struct Between {
    pub(super) url: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    passed: AtomicUsize,
    loads: AtomicUsize,
}

impl Between {
    /// Its threads end with the test.
    pub(super) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it has one"));
        let counts = Arc::<Counts>::default();
        let counted = counts.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let counted = counted.clone();
                // An end that is gone ends the exchange; what it means is seen by the client.
                thread::spawn(move || drop(exchange(near, server, &counted)));
            }
        });
        Self { url, counts }
    }

    /// Requests of the client that went on to the server.
    pub(super) fn passed(&self) -> usize {
        self.counts.passed.load(Ordering::Relaxed)
    }

    /// Models that the gateway has loaded.
    pub(super) fn loads(&self) -> usize {
        self.counts.loads.load(Ordering::Relaxed)
    }
}

/// One request: the server that the tests start closes each connection after its answer.
fn exchange(mut near: TcpStream, server: SocketAddr, counts: &Counts) -> io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if !head.to_ascii_lowercase().contains(CLIENT) {
        counts.loads.fetch_add(usize::from(head.starts_with("POST /api/generate ")), Ordering::Relaxed);
        return near.write_all(DONE.as_bytes());
    }
    counts.passed.fetch_add(1, Ordering::Relaxed);
    let mut far = TcpStream::connect(server)?;
    far.write_all(head.as_bytes())?;
    far.write_all(reader.buffer())?;
    let (mut from_near, mut to_far) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || drop(io::copy(&mut from_near, &mut to_far)));
    let mut answer = [0; 16 << 10];
    loop {
        match far.read(&mut answer)? {
            0 => return near.shutdown(Shutdown::Both),
            read => near.write_all(&answer[..read])?,
        }
    }
}
