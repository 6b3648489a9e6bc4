//! Whose account a model call goes to, of those who call as nobody's instance.
//!
//! The first of these that there is: the name in the path, the bearer token, the header `X-Agent`, the address. Nothing of it is
//! proven: names keep apart clients that mean well. A token is never kept, only a short hash of it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bellwether_core::{id::AgentName, time::Nanos};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};

use crate::limits;

/// The account of everybody who cannot be told apart.
const UNIDENTIFIED: &str = "unidentified";
const AGENT: HeaderName = HeaderName::from_static("x-agent");
const NAME_MAX: usize = 64;
/// Of a token's hash. With as many clients as there can be, two share one in 1 of 100,000 cases.
const HASH_CHARS: usize = 8;
/// So that the hash is not one that other programs make of the same token.
const HASH_CONTEXT: &str = "bellwether 2026 account of a model client by its bearer token";

/// What a client can be called.
pub(crate) const NAMES: &str = "a client's name has up to 64 letters, digits, dots, dashes or underscores";

/// Whether a client can be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let is_in_names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=NAME_MAX).contains(&name.len()) && name.chars().all(is_in_names)
}

/// What the client calls itself, or is called. `in_path`: by the path, as `/m/{client}/…`. None: nothing tells it apart.
///
/// What stands in front of the slash keeps a client from being taken for an agent of the fleet, or for one that is named in
/// another way.
pub(crate) fn name(in_path: Option<&str>, headers: &HeaderMap, peer: Option<IpAddr>) -> Option<String> {
    let said = || in_path.filter(|name| is_name(name)).map(named);
    let address = || peer.map(|peer| peer.to_canonical()).filter(tells_apart).map(|peer| format!("address/{peer}"));
    said()
        .or_else(|| bearer(headers).map(hashed))
        .or_else(|| headers.get(AGENT)?.to_str().ok().filter(|name| is_name(name)).map(named))
        .or_else(address)
}

pub(crate) fn named(name: &str) -> String {
    format!("client/{name}")
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes().trim_ascii();
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    Some(token.trim_ascii()).filter(|token| scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty())
}

fn hashed(token: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key(HASH_CONTEXT);
    let hash = hasher.update(token).finalize().to_hex();
    format!("token/{}", &hash[..HASH_CHARS])
}

/// Whatever calls on its own machine without saying more comes from this address.
fn tells_apart(peer: &IpAddr) -> bool {
    match peer {
        IpAddr::V4(peer) => *peer != std::net::Ipv4Addr::LOCALHOST,
        IpAddr::V6(peer) => *peer != std::net::Ipv6Addr::LOCALHOST,
    }
}

/// The clients that have accounts of their own, up to a bound.
#[derive(Default)]
pub(crate) struct Clients {
    /// When each was last seen.
    seen: Mutex<HashMap<String, Nanos>>,
}

impl Clients {
    /// The account of a client of this name. Beyond the bound it is that of the unidentified, until another client was not
    /// seen for so long that its place is free.
    pub(crate) fn account(&self, name: Option<String>, now: Nanos) -> AgentName {
        match name {
            Some(name) if self.has_place(&name, now) => AgentName::new(name),
            Some(_) | None => AgentName::new(UNIDENTIFIED),
        }
    }

    /// How many have an account of their own.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn has_place(&self, name: &str, now: Nanos) -> bool {
        let mut seen = self.lock();
        if let Some(last) = seen.get_mut(name) {
            *last = now;
            return true;
        }
        if seen.len() >= limits::CLIENTS_MAX {
            seen.retain(|_, last| now.since(*last) < limits::CLIENT_KEPT);
        }
        let has_place = seen.len() < limits::CLIENTS_MAX;
        if has_place {
            seen.insert(name.to_owned(), now);
        }
        has_place
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Nanos>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn peer(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn path_token_header_and_address_name_a_client_in_this_order() {
        let all = headers(&[("authorization", "Bearer s3cret"), ("x-agent", "reviewer")]);
        let (agent, none) = (headers(&[("x-agent", "reviewer")]), HeaderMap::new());
        let from = peer("10.0.0.7");
        assert_eq!(name(Some("ci"), &all, from).unwrap(), "client/ci");
        let token = name(None, &all, from).unwrap();
        assert!(token.starts_with("token/") && token.len() == "token/".len() + HASH_CHARS, "{token}");
        assert_eq!(name(None, &agent, from).unwrap(), "client/reviewer");
        assert_eq!(name(None, &none, from).unwrap(), "address/10.0.0.7");
        assert_eq!(name(None, &none, peer("127.0.0.1")), None);
        assert_eq!(name(None, &none, None), None);
    }

    #[test]
    fn a_token_is_known_again_and_not_told() {
        let by = |value: &'static str| name(None, &headers(&[("authorization", value)]), None);
        assert_eq!(by("Bearer s3cret"), by("bearer  s3cret "), "the scheme is the same in any case");
        assert_ne!(by("Bearer s3cret"), by("Bearer s3cret2"));
        assert!(!by("Bearer s3cret").unwrap().contains("s3cret"));
        assert_eq!((by("Bearer "), by("Bearer"), by("Basic eDp5"), by("")), (None, None, None, None));
        assert_eq!(by("Bearer s3cret").unwrap(), "token/7968f87d", "the same after a restart");
    }

    #[test]
    fn what_cannot_be_a_name_is_passed_over() {
        let by = |value: &'static str| name(None, &headers(&[("x-agent", value)]), peer("10.0.0.7")).unwrap();
        for value in ["", "a b", "a/b", "a@b"] {
            assert_eq!(by(value), "address/10.0.0.7", "{value:?}");
        }
        assert!(is_name(&"n".repeat(64)) && !is_name(&"n".repeat(65)));
    }

    #[test]
    fn an_address_is_the_same_in_both_forms() {
        let from = |address: &str| name(None, &HeaderMap::new(), peer(address));
        assert_eq!(from("::ffff:10.0.0.7"), from("10.0.0.7"));
        assert_eq!(from("fd00::7").unwrap(), "address/fd00::7");
        assert_eq!((from("::1"), from("::ffff:127.0.0.1")), (None, None));
        assert_eq!(from("127.0.0.2").unwrap(), "address/127.0.0.2", "somebody chose it");
    }

    #[test]
    fn beyond_the_bound_clients_share_an_account_until_one_has_gone() {
        let clients = Clients::default();
        let account = |name: String, now: Nanos| clients.account(Some(name), now);
        let start = Nanos(0);
        for n in 0..limits::CLIENTS_MAX {
            assert_eq!(account(n.to_string(), start).as_str(), n.to_string());
        }
        assert_eq!(account("late".to_owned(), start).as_str(), UNIDENTIFIED);
        assert_eq!(clients.count(), limits::CLIENTS_MAX);
        let later = start + limits::CLIENT_KEPT;
        assert_eq!(account("0".to_owned(), later).as_str(), "0");
        assert_eq!(account("late".to_owned(), later).as_str(), "late", "the others were not seen for long enough");
        assert_eq!(account("0".to_owned(), later).as_str(), "0", "this one was");
        assert_eq!(clients.account(None, later).as_str(), UNIDENTIFIED);
    }
}
