//! An address that is measured: where it is, and what each client calls there.

use std::{io, net::SocketAddr};

use hyper::{
    Uri,
    header::{HeaderName, HeaderValue},
};

/// Stands in an address or a header for the name of the client that calls.
pub(crate) const CLIENT: &str = "{client}";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// As it was given.
    pub(crate) url: String,
    host: String,
    port: u16,
    /// What stands before the path of an API, without the slash at its end.
    base: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not an address that can be measured")]
pub(crate) struct BadEndpoint {
    pub(crate) url: String,
    pub(crate) why: &'static str,
}

impl Endpoint {
    pub(crate) fn parse(url: &str) -> Result<Self, BadEndpoint> {
        let bad = |why| BadEndpoint { url: url.to_owned(), why };
        if url.starts_with("https://") {
            return Err(bad("it asks for TLS, which is not spoken here"));
        }
        let rest = url.strip_prefix("http://").ok_or_else(|| bad("it does not begin with http://"))?;
        if rest.contains(['?', '#']) {
            return Err(bad("it holds more than a host, a port and a path"));
        }
        let (place, base) = rest.split_once('/').map_or((rest, ""), |(place, _)| (place, &rest[place.len()..]));
        if place.contains('@') {
            return Err(bad("it names a user; send a header instead"));
        }
        let base = base.trim_end_matches('/');
        if base.replace(CLIENT, "").contains(['{', '}']) {
            return Err(bad("it holds a placeholder other than {client}"));
        }
        // Braces are no part of an address, so it is read as the first client would call it.
        let named: Uri = format!("http://{place}{}", base.replace(CLIENT, "client-1"))
            .parse()
            .map_err(|_| bad("it cannot be read"))?;
        let host = named.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("it names no host"))?;
        // A port that is no number is none for the parser.
        let port = match (place.len() > host.len(), named.port_u16()) {
            (false, _) => 80,
            (true, Some(port)) => port,
            (true, None) => return Err(bad("its port is none")),
        };
        Ok(Self { url: url.to_owned(), host: host.to_owned(), port, base: base.to_owned() })
    }

    /// What stands in `Host`.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) fn path(&self, client: &str, api: &str) -> String {
        format!("{}{api}", self.base.replace(CLIENT, client))
    }

    pub(super) async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host, self.port)).await?.collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }
}

/// A header that goes with every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    name: HeaderName,
    value: String,
}

impl Header {
    /// From `NAME: VALUE`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "it is no header; write NAME: VALUE, such as 'Authorization: Bearer TOKEN'".to_owned();
        let (name, value) = text.split_once(':').ok_or_else(wrong)?;
        let header = Self { name: name.trim().parse().map_err(|_| wrong())?, value: value.trim().to_owned() };
        header.of("client-1").ok_or_else(wrong)?;
        Ok(header)
    }

    /// That by which a gateway tells clients apart.
    pub(crate) fn names_clients() -> Self {
        Self { name: HeaderName::from_static("x-agent"), value: CLIENT.to_owned() }
    }

    /// Names of clients are letters, digits and dashes, so a value that was read for one is a value for all.
    pub(super) fn of(&self, client: &str) -> Option<(HeaderName, HeaderValue)> {
        let value = HeaderValue::from_str(&self.value.replace(CLIENT, client)).ok()?;
        Some((self.name.clone(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_hold_the_name_of_the_client() {
        let plain = Endpoint::parse("http://127.0.0.1:11434/").unwrap();
        assert_eq!(plain.path("client-2", "/api/chat"), "/api/chat");
        assert_eq!(plain.authority(), "127.0.0.1:11434");
        let gateway = Endpoint::parse("http://localhost:7400/m/{client}/").unwrap();
        assert_eq!(gateway.path("client-2", "/api/chat"), "/m/client-2/api/chat");
        assert_eq!(Endpoint::parse("http://host/v").unwrap().authority(), "host:80");
        assert_eq!(Endpoint::parse("http://[::1]:1/").unwrap().authority(), "[::1]:1");
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_the_reason() {
        let why = |url: &str| Endpoint::parse(url).unwrap_err().why;
        assert_eq!(why("https://host"), "it asks for TLS, which is not spoken here");
        assert_eq!(why("host:1"), "it does not begin with http://");
        assert_eq!(why("http:///x"), "it cannot be read");
        assert_eq!(why("http://host:99999"), "its port is none");
        assert_eq!(why("http://host:/x"), "its port is none");
        assert_eq!(why("http://host/{model}"), "it holds a placeholder other than {client}");
        assert_eq!(why("http://host/?a=b"), "it holds more than a host, a port and a path");
        assert_eq!(why("http://user:secret@host"), "it names a user; send a header instead");
    }

    #[test]
    fn headers_are_read_and_named() {
        let header = Header::parse("X-Who: it is {client}").unwrap();
        assert_eq!(header.of("client-3").unwrap().1, "it is client-3");
        assert!(Header::parse("no header").is_err());
        assert!(Header::parse("bad name: x").is_err());
        assert!(Header::parse("x: line\nbreak").is_err());
    }
}
