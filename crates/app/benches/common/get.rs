//! A question to a server of the run, on a connection of its own.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde::de::DeserializeOwned;

const ANSWER_MAX: Duration = Duration::from_secs(5);

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
