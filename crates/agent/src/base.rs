//! Where a service lives.

use hyper::Uri;

/// `http://host:port/prefix`. The prefix is kept, because it may be what names this agent to a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Without a slash at the end.
    url: String,
}

impl Base {
    /// Takes what `OLLAMA_HOST` may hold too: a host without scheme, and `0.0.0.0` for this machine.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let rest =
            rest.trim_end_matches('/').replacen("0.0.0.0", "127.0.0.1", usize::from(rest.starts_with("0.0.0.0")));
        let url = format!("{scheme}://{rest}");
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority()?;
        let port_is_a_number = authority.port_u16().is_some() || authority.as_str() == authority.host();
        let usable = uri.scheme_str() == Some("http") && !authority.host().is_empty() && port_is_a_number;
        (usable && uri.query().is_none()).then_some(Self { url })
    }

    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
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
    fn the_prefix_is_kept() {
        let base = Base::parse("http://127.64.0.3:7400/i/TOKEN/").unwrap();
        assert_eq!(base.join("health"), "http://127.64.0.3:7400/i/TOKEN/health");
    }

    #[test]
    fn hosts_as_ollama_writes_them() {
        assert_eq!(Base::parse("0.0.0.0:11434").unwrap().join("x"), "http://127.0.0.1:11434/x");
        assert_eq!(Base::parse("box/ollama").unwrap().join("x"), "http://box/ollama/x");
        for bad in ["", "https://host", "http://", "http://host?x=1", "host:port", "a b"] {
            assert_eq!(Base::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_type_cannot_leave_its_segment() {
        assert_eq!(segment("a b/../c?"), "a%20b%2F..%2Fc%3F");
    }
}
