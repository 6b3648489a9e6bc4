//! Questions to gateway and controller, either of which may be killed while it answers.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

const ANSWER_MAX: Duration = Duration::from_secs(5);
const BEAT: Duration = Duration::from_millis(100);

/// `http://host:port` and what is asked of it.
pub(crate) fn get<T: DeserializeOwned>(base: &str, path: &str) -> Result<T, String> {
    let address = base.strip_prefix("http://").unwrap_or(base);
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no whole answer")?;
    serde_json::from_str(body).map_err(|error| error.to_string())
}

/// Asks until the answer is there and will do. What is down comes back, so a failure is none before the time is over.
pub(crate) fn until<T: DeserializeOwned>(
    base: &str,
    path: &str,
    within: Duration,
    what: &str,
    mut will_do: impl FnMut(&T) -> bool,
) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        let answer = get(base, path);
        match answer {
            Ok(answer) if will_do(&answer) => return Ok(answer),
            Err(why) if Instant::now() > deadline => return Err(format!("not within {within:?}: {what}: {why}")),
            Ok(_) if Instant::now() > deadline => return Err(format!("not within {within:?}: {what}")),
            Ok(_) | Err(_) => thread::sleep(BEAT),
        }
    }
}

pub(crate) fn on(status: &Value, side: &str) -> usize {
    status["agents"].as_array().map_or(0, |agents| agents.iter().filter(|agent| agent["serving"] == side).count())
}

/// Of the last rollout; empty where there was none.
pub(crate) fn state(status: &Value) -> &str {
    status["rollout"]["state"].as_str().unwrap_or("")
}
