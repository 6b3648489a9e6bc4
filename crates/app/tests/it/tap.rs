//! Stands in front of the model server, passes everything on, and remembers what was asked.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

type Heard = Arc<Mutex<Vec<u8>>>;

pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    /// What each connection has asked so far.
    connections: Arc<Mutex<Vec<Heard>>>,
}

impl Tap {
    /// Its threads end with the test.
    pub(crate) fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let connections = Arc::<Mutex<Vec<Heard>>>::default();
        let (server, opened) = (server.to_owned(), connections.clone());
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let far = TcpStream::connect(&server).expect("the model server is there");
                let heard = Heard::default();
                opened.lock().unwrap_or_else(PoisonError::into_inner).push(heard.clone());
                let pairs = near.try_clone().and_then(|near| Ok((near, far.try_clone()?)));
                let (near_too, far_too) = pairs.expect("there are descriptors left");
                thread::spawn(move || pass(near, far, Some(&heard)));
                thread::spawn(move || pass(far_too, near_too, None));
            }
        });
        Self { address, connections }
    }

    /// How often these words were in what reached the model server.
    pub(crate) fn heard(&self, words: &str) -> u64 {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let times = connections.iter().map(|heard| {
            let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&heard).matches(words).count() as u64
        });
        times.sum()
    }
}

/// Until either end is gone; then both are.
fn pass(mut from: TcpStream, mut to: TcpStream, heard: Option<&Heard>) {
    let mut buffer = [0; 16 << 10];
    let ended: io::Result<()> = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(read) => {
                if let Some(heard) = heard {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..read]);
                }
                if let Err(error) = to.write_all(&buffer[..read]) {
                    break Err(error);
                }
            }
            Err(error) => break Err(error),
        }
    };
    drop(ended);
    // Gone already where the other thread was first.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}
