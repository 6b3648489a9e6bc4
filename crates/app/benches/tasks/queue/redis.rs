//! The reliable queue of Redis (its documentation of BLMOVE), synced to the disk before each answer.

use std::{
    fs::File,
    io::{BufRead, BufReader, Error, Read, Result, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use super::payload;
use crate::{
    measure::{self, Queue, Row},
    options::Options,
    stage::{Scratch, until},
};

const NAME: &str = "redis";

pub(crate) fn measure(options: &Options, connections: usize) -> std::result::Result<Row, String> {
    let scratch = Scratch::new()?;
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.map_err(|error| error.to_string())?.port();
    let log = File::create(scratch.0.join("log")).map_err(|error| error.to_string())?;
    let started = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--daemonize", "no"])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"])
        .arg("--dir")
        .arg(&scratch.0)
        .stdin(Stdio::null())
        .stdout(log)
        .spawn();
    let _server = match started {
        Ok(server) => Server(server),
        Err(error) => return Ok(Row::skipped(NAME, connections, format!("redis-server: {error}"))),
    };
    until("redis answers", || Client::open(port, 0, 0).and_then(|mut client| client.ask(&["PING"])).ok())?;
    let client = |number| Client::open(port, number, options.payload).map(|client| Box::new(client) as Box<dyn Queue>);
    let clients = (0..connections).map(client).collect::<Result<Vec<_>>>().map_err(|error| error.to_string())?;
    measure::measure(NAME, options.span(), clients)
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing of it is kept.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

struct Client {
    stream: BufReader<TcpStream>,
    queue: String,
    taken: String,
    payload: String,
    /// The task that is held.
    held: String,
}

impl Client {
    fn open(port: u16, number: usize, bytes: usize) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        let (queue, taken) = (format!("queue:{number}"), format!("taken:{number}"));
        Ok(Self { stream: BufReader::new(stream), queue, taken, payload: payload(bytes), held: String::new() })
    }

    /// The answer as text; of an array the last element.
    fn ask(&mut self, words: &[&str]) -> Result<String> {
        self.send(&[words])?;
        self.answer()
    }

    /// Several commands in one write.
    fn send(&mut self, commands: &[&[&str]]) -> Result<()> {
        let mut text = String::new();
        for words in commands {
            text += &format!("*{}\r\n", words.len());
            words.iter().for_each(|word| text += &format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(text.as_bytes())
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| Error::other("redis ended"))?;
        let count = || rest.parse::<i64>().map_err(Error::other);
        match kind {
            "+" | ":" => Ok(rest.to_owned()),
            "$" => {
                let length = usize::try_from(count()?).map_err(|_none| Error::other("nothing there"))?;
                let mut text = vec![0; length + 2];
                self.stream.read_exact(&mut text)?;
                text.truncate(length);
                String::from_utf8(text).map_err(Error::other)
            }
            "*" => (0..count()?).map(|_| self.answer()).last().unwrap_or_else(|| Ok(String::new())),
            _ => Err(Error::other(line.to_owned())),
        }
    }
}

impl Queue for Client {
    fn submit(&mut self, number: u64) -> std::result::Result<(), String> {
        let (queue, task) = (self.queue.clone(), format!("{}-{number} {}", self.queue, self.payload));
        self.ask(&["LPUSH", &queue, &task]).map(drop).map_err(|error| error.to_string())
    }

    fn take(&mut self) -> std::result::Result<(), String> {
        let (queue, taken) = (self.queue.clone(), self.taken.clone());
        self.held = self.ask(&["BLMOVE", &queue, &taken, "RIGHT", "LEFT", "0"]).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Out of the taken and its result kept, as one.
    fn complete(&mut self) -> std::result::Result<(), String> {
        let (taken, held, payload) = (self.taken.clone(), std::mem::take(&mut self.held), self.payload.clone());
        let id = held.split(' ').next().unwrap_or_default();
        let (remove, keep) = (["LREM", &taken, "1", &held], ["SET", id, &payload]);
        let all = self.send(&[&["MULTI"], &remove, &keep, &["EXEC"]]);
        all.and_then(|()| (0..4).try_for_each(|_| self.answer().map(drop))).map_err(|error| error.to_string())
    }
}
