//! The head of a request as it is written, and that of an answer as it is read.

use std::{io::Write, mem::MaybeUninit};

use bytes::BytesMut;
use httparse::{ParserConfig, Status};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    ext::ReasonPhrase,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING},
    http::response::Parts,
};

use super::{Broken, body::Framing};

/// The largest head.
const BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;

/// What is asked. Where its body ends is told anew, whatever the headers say.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// What stands before the path, without a slash at its end.
    pub(crate) prefix: &'a str,
    pub(crate) path_and_query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// Of the headers, what stays behind.
    pub(crate) without: &'a [HeaderName],
    /// Instead of what the headers say.
    pub(crate) host: Option<&'a HeaderValue>,
}

/// How the end of a request's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Bytes(u64),
    Chunked,
}

impl Asked<'_> {
    pub(super) fn write(&self, length: Length, out: &mut Vec<u8>) -> Result<(), Broken> {
        let is_plain = |text: &str| text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        if !is_plain(self.prefix) || !is_plain(self.path_and_query) {
            return Err(Broken::Unwritable("its path has a space or a control character"));
        }
        let slash = if self.path_and_query.starts_with('/') { "" } else { "/" };
        for part in [self.method.as_str(), " ", self.prefix, slash, self.path_and_query, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        if let Some(host) = self.host {
            write_field(out, &HOST, host.as_bytes());
        }
        for (name, value) in self.headers {
            let is_ours = *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING || *name == HOST && self.host.is_some();
            if !is_ours && !self.without.contains(name) {
                write_field(out, name, value.as_bytes());
            }
        }
        match length {
            // Where no body is to be expected, nothing is said of it.
            Length::Bytes(0) if ![Method::POST, Method::PUT, Method::PATCH].contains(self.method) => {}
            Length::Bytes(bytes) => write!(out, "content-length: {bytes}\r\n")?,
            Length::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// The head of an answer.
pub(super) struct Head {
    pub(super) parts: Parts,
    pub(super) framing: Framing,
    /// The connection can be used again after the answer's end.
    pub(super) keeps: bool,
}

/// Heads as they come, in pieces of any size.
#[derive(Default)]
pub(super) struct Reader {
    /// Bytes in which there is no end of a head.
    seen: usize,
}

impl Reader {
    /// Takes the head out once it is whole. `bodiless`: what is asked is never answered with a body.
    pub(super) fn read(&mut self, unread: &mut BytesMut, bodiless: bool) -> Result<Option<Head>, Broken> {
        // Parsed at the first look and when it is whole, so that a head that comes byte by byte costs no more than its bytes.
        let seen = std::mem::replace(&mut self.seen, unread.len());
        let parsed = if unread.is_empty() || seen > 0 && !has_end(&unread[seen.saturating_sub(3)..]) {
            None
        } else {
            parse(unread, bodiless)?
        };
        match parsed {
            Some(head) => {
                self.seen = 0;
                Ok(Some(head))
            }
            None if unread.len() >= BYTES_MAX => Err(Broken::Malformed("its head is too long")),
            None => Ok(None),
        }
    }
}

fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

fn parse(unread: &mut BytesMut, bodiless: bool) -> Result<Option<Head>, Broken> {
    /// Where each field stands in what was read.
    struct Field {
        name: (usize, usize),
        value: (usize, usize),
    }
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, unread, &mut room);
    let long = match parsed {
        Ok(Status::Complete(long)) if long <= BYTES_MAX => long,
        Ok(Status::Complete(_)) => return Err(Broken::Malformed("its head is too long")),
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(Broken::Malformed("its head")),
    };
    let (Some(version), Some(code)) = (response.version, response.code) else {
        return Err(Broken::Malformed("its head"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Broken::Malformed("its status"))?;
    let reason = response.reason.filter(|&reason| !reason.is_empty() && Some(reason) != status.canonical_reason());
    let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    let place = |part: &[u8]| {
        let from = part.as_ptr() as usize - unread.as_ptr() as usize;
        (from, from + part.len())
    };
    let field = |field: &httparse::Header<'_>| Field { name: place(field.name.as_bytes()), value: place(field.value) };
    let fields: Vec<Field> = response.headers.iter().map(field).collect();
    let bytes = unread.split_to(long).freeze();
    let mut headers = HeaderMap::with_capacity(fields.len());
    for Field { name, value } in fields {
        let name = HeaderName::from_bytes(&bytes[name.0..name.1]).map_err(|_| Broken::Malformed("a header's name"))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice(value.0..value.1));
        headers.append(name, value.map_err(|_| Broken::Malformed("a header's value"))?);
    }
    let framing = framing(&headers, version, status, bodiless)?;
    let is_http = status != StatusCode::SWITCHING_PROTOCOLS && framing != Framing::UntilClose;
    let keeps = is_http && says_to_keep(&headers, version);
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    if let Some(reason) = reason {
        parts.extensions.insert(reason);
    }
    Ok(Some(Head { parts, framing, keeps }))
}

/// Where the body ends (RFC 9112, section 6.3). What says so twice and differently says nothing.
fn framing(headers: &HeaderMap, version: u8, status: StatusCode, bodiless: bool) -> Result<Framing, Broken> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(length);
    let length = match lengths.next() {
        Some(first) if lengths.all(|other| other == first) => {
            Some(first.ok_or(Broken::Malformed("its content-length"))?)
        }
        Some(_) => return Err(Broken::Malformed("its lengths differ")),
        None => None,
    };
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if let Some(coding) = coding {
        if length.is_some() || version == 0 {
            return Err(Broken::Malformed("a transfer-encoding beside a length, or in HTTP/1.0"));
        }
        if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            return Err(Broken::Malformed("a transfer-encoding other than chunked"));
        }
    }
    let is_empty = status.is_informational() || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status);
    Ok(match length {
        _ if bodiless || is_empty => Framing::Over,
        Some(length) => Framing::sized(length),
        None if coding.is_some() => Framing::chunked(),
        None => Framing::UntilClose,
    })
}

fn length(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn says_to_keep(headers: &HeaderMap, version: u8) -> bool {
    let mut keeps = version == 1;
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keeps |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keeps
}
