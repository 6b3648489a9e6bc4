//! Headers that belong to one connection and are not passed on (RFC 9110, section 7.6.1).

use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What stays behind whether [`CONNECTION`] names it or not. Framing is written anew for each connection; a length that
/// was given stays as it is. Trailers are not passed on, so none are announced.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Takes them out. Returns the protocol that the sender wants to switch to, if it does.
pub(crate) fn strip(headers: &mut HeaderMap) -> Option<HeaderValue> {
    // Most requests and answers have none, and a look at each name is cheaper than a search for each of these.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return None;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        // Byte by byte: one odd name hides no other.
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let upgrade = headers.remove(UPGRADE).filter(|_| named.contains(&UPGRADE));
    for name in HOP_BY_HOP.into_iter().chain(named) {
        headers.remove(name);
    }
    upgrade
}

/// Says on the next connection that the protocol shall be switched, or is.
pub(crate) fn put_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// How many seconds the peer says that it keeps an idle connection.
pub(crate) fn kept_idle_secs(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    value.split(',').find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn what_names_one_connection_stays_on_it() {
        let mut it = headers(&[
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-yours", "2"),
            ("content-length", "3"),
        ]);
        assert_eq!(kept_idle_secs(&it), Some(5));
        assert_eq!(strip(&mut it), None, "an upgrade that the connection header does not name is none");
        assert_eq!(it, headers(&[("x-yours", "2"), ("content-length", "3")]));
    }

    #[test]
    fn an_odd_name_hides_no_other() {
        let mut it = headers(&[("x-mine", "1")]);
        it.insert(CONNECTION, HeaderValue::from_bytes(b"\xff, x-mine").unwrap());
        strip(&mut it);
        assert!(it.is_empty());
    }

    #[test]
    fn an_upgrade_is_seen() {
        let mut it = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(strip(&mut it).unwrap(), "websocket");
        assert!(it.is_empty());
    }
}
