//! Each task is asked for once more at the end, on one connection: is what was accepted still there, and is it something?

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use serde::Serialize;
use serde_json::Value;

use crate::common::account::Account;

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) with_text: u64,
    /// Completed, with nothing in the result.
    pub(crate) empty: u64,
    /// Accepted, and not known or not completed.
    pub(crate) missing: u64,
}

pub(super) fn of(gateway: &str, account: &Account) -> std::io::Result<Results> {
    let address = gateway.strip_prefix("http://").unwrap_or(gateway);
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    stream.get_ref().set_nodelay(true)?;
    let mut results = Results::default();
    for number in 0..account.requests.total {
        let ask = format!("GET /tasks/{}-{number} HTTP/1.1\r\nhost: {address}\r\n\r\n", account.name);
        stream.get_mut().write_all(ask.as_bytes())?;
        let task: Value = serde_json::from_slice(&body(&mut stream)?)?;
        let text = task["result"].as_str().unwrap_or("");
        *(match task["state"].as_str() {
            Some("completed") if text.trim().is_empty() => &mut results.empty,
            Some("completed") => &mut results.with_text,
            _ => &mut results.missing,
        }) += 1;
    }
    Ok(results)
}

fn body(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}
