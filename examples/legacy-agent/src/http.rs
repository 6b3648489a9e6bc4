//! One request over one connection: HTTP/1.1 with `Connection: close`, as the seed's agents make it.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

const HEAD_MAX: u64 = 64 << 10;
const BODY_MAX: u64 = 16 << 20;

/// Where a service lives. A path prefix is kept: it may be what names this agent to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    host: String,
    port: u16,
    prefix: String,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Base {
    /// `http://host[:port][/prefix]`.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (authority, prefix) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, 80),
        };
        let usable = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        (!host.is_empty() && usable(rest)).then(|| Self {
            host: host.to_owned(),
            port,
            prefix: prefix.trim_end_matches('/').to_owned(),
        })
    }

    pub(crate) fn get(&self, path: &str, timeout: Duration) -> io::Result<Answer> {
        self.call("GET", path, "", timeout)
    }

    pub(crate) fn post(&self, path: &str, json: &str, timeout: Duration) -> io::Result<Answer> {
        self.call("POST", path, json, timeout)
    }

    /// The time-out counts for the connection and for each wait for bytes, not for their sum.
    fn call(&self, method: &str, path: &str, json: &str, timeout: Duration) -> io::Result<Answer> {
        let mut stream = self.connect(timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let Self { host, port, prefix } = self;
        let length = json.len();
        let request = format!(
            "{method} {prefix}/{path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}"
        );
        stream.write_all(request.as_bytes())?;
        read_answer(BufReader::with_capacity(4096, stream))
    }

    fn connect(&self, timeout: Duration) -> io::Result<TcpStream> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in (host, self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// One segment of a path, with everything escaped that could end it.
pub(crate) fn segment(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

enum Framing {
    Length(u64),
    Chunked,
    ToTheEnd,
}

fn read_answer(mut from: impl BufRead) -> io::Result<Answer> {
    let (status, framing) = loop {
        let head = read_head(&mut from)?;
        // 1xx only announces the answer.
        if head.0 >= 200 {
            break head;
        }
    };
    let mut body = Vec::new();
    match framing {
        _ if matches!(status, 204 | 304) => {}
        Framing::Length(length) if length > BODY_MAX => return Err(bad("the body is too long")),
        Framing::Length(length) => {
            if from.take(length).read_to_end(&mut body)? as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Framing::Chunked => read_chunks(&mut from, &mut body)?,
        Framing::ToTheEnd => {
            if from.take(BODY_MAX + 1).read_to_end(&mut body)? as u64 > BODY_MAX {
                return Err(bad("the body is too long"));
            }
        }
    }
    Ok(Answer { status, body })
}

fn read_head(from: &mut impl BufRead) -> io::Result<(u16, Framing)> {
    let mut head = from.take(HEAD_MAX);
    let status = line(&mut head)?;
    let status = status
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| bad("no status line"))?;
    let mut framing = Framing::ToTheEnd;
    loop {
        let header = line(&mut head)?;
        if header.is_empty() {
            return Ok((status, framing));
        }
        let (name, value) = header.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") && !matches!(framing, Framing::Chunked) {
            framing = Framing::Length(value.trim().parse().map_err(|_not_a_number| bad("the length is no number"))?);
        }
    }
}

fn read_chunks(from: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = line(&mut from.take(HEAD_MAX))?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_not_a_number| bad("the size of a chunk is no number"))?;
        if size == 0 {
            while !line(&mut from.take(HEAD_MAX))?.is_empty() {}
            return Ok(());
        }
        if size > BODY_MAX - body.len() as u64 {
            return Err(bad("the body is too long"));
        }
        if from.take(size).read_to_end(body)? as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line(&mut from.take(HEAD_MAX))?;
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    from.read_line(&mut text)?;
    match text.strip_suffix('\n') {
        Some(text) => Ok(text.trim_end_matches('\r').to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_keeps_its_prefix() {
        let base = Base::parse("http://127.64.0.3:7400/i/TOKEN/").unwrap();
        assert_eq!((base.host.as_str(), base.port, base.prefix.as_str()), ("127.64.0.3", 7400, "/i/TOKEN"));
        assert_eq!(Base::parse("http://host").unwrap().port, 80);
        assert_eq!(Base::parse("http://[::1]").unwrap().host, "[::1]");
        for bad in ["host:80", "https://host", "http://", "http://:80", "http://host:99999", "http://host/a b"] {
            assert_eq!(Base::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn bodies_of_each_framing() {
        let body = |text: &str| read_answer(text.as_bytes()).map(|answer| (answer.status, answer.body));
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhim").unwrap(), (200, b"hi".to_vec()));
        assert_eq!(
            body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n1\r\n!\r\n0\r\n\r\n").unwrap(),
            (200, b"hi!".to_vec())
        );
        assert_eq!(body("HTTP/1.0 404 No\r\n\r\nall").unwrap(), (404, b"all".to_vec()));
        assert_eq!(body("HTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").unwrap(), (204, Vec::new()));
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        for bad in [
            "",
            "HTTP/1.1 200",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhi",
        ] {
            assert!(read_answer(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_type_cannot_leave_its_segment() {
        assert_eq!(segment("a b/../c?"), "a%20b%2F..%2Fc%3F");
        assert_eq!(segment("security-agent_1"), "security-agent_1");
    }
}
