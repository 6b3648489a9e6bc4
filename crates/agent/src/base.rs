//! Where a service lives.

use std::fmt;

use hyper::Uri;

/// `http://host:port/prefix`. The prefix is kept, because it may be what names this agent to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// As the `Host` header has it.
    authority: String,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Without a slash at the end.
    prefix: String,
}

impl Base {
    /// Takes what `OLLAMA_HOST` may hold too: a host without scheme, and `0.0.0.0` for this machine.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let rest =
            rest.trim_end_matches('/').replacen("0.0.0.0", "127.0.0.1", usize::from(rest.starts_with("0.0.0.0")));
        let uri: Uri = format!("{scheme}://{rest}").parse().ok()?;
        let authority = uri.authority()?;
        let port = authority.port_u16();
        let port_is_a_number = port.is_some() || authority.as_str() == authority.host();
        let usable = uri.scheme_str() == Some("http") && !authority.host().is_empty() && port_is_a_number;
        (usable && uri.query().is_none()).then(|| Self {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: port.unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// What a request line names.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.prefix)
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn endpoint(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

/// For people, without the path: that may hold a token.
impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// One segment of a path, with everything escaped that could end it.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_kept_and_not_shown() {
        let base = Base::parse("http://127.64.0.3:7400/i/TOKEN/").unwrap();
        assert_eq!(base.join("health"), "/i/TOKEN/health");
        assert_eq!(base.to_string(), "http://127.64.0.3:7400");
        assert_eq!((base.endpoint(), base.authority()), (("127.64.0.3", 7400), "127.64.0.3:7400"));
    }

    #[test]
    fn hosts_as_ollama_writes_them() {
        assert_eq!(Base::parse("0.0.0.0:11434").unwrap().to_string(), "http://127.0.0.1:11434");
        assert_eq!(Base::parse("box/ollama").unwrap().join("x"), "/ollama/x");
        assert_eq!(Base::parse("[::1]").unwrap().endpoint(), ("::1", 80));
        for bad in ["", "https://host", "http://", "http://host?x=1", "host:port", "a b"] {
            assert_eq!(Base::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_type_cannot_leave_its_segment() {
        assert_eq!(segment("a b/../c?"), "a%20b%2F..%2Fc%3F");
    }
}
