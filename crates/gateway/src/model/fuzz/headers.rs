//! What concerns one connection stays on it; everything else goes on, each header's values in their order.

use std::collections::{BTreeMap, BTreeSet};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::hop;

/// More than a server takes.
const HEADERS_MAX: usize = 128;
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
type Headers = BTreeMap<String, Vec<Vec<u8>>>;

/// A header per line.
pub fn headers(input: &[u8]) {
    let mut map = HeaderMap::new();
    for line in input.split(|&byte| byte == b'\n').take(HEADERS_MAX) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    let all = listed(&map);
    let mut stays: BTreeSet<String> = HOP_BY_HOP.map(str::to_owned).into();
    stays.extend(named(&all));

    let mut passed = map.clone();
    let upgrade = hop::strip(&mut passed);
    assert_eq!(listed(&passed), without(&all, &stays));
    let asked = all.get("upgrade").filter(|_| named(&all).any(|name| name == "upgrade"));
    assert_eq!(upgrade.map(|it| it.as_bytes().to_vec()), asked.map(|values| values[0].clone()));
}

fn listed(map: &HeaderMap) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in map {
        headers.entry(name.as_str().to_owned()).or_default().push(value.as_bytes().to_vec());
    }
    headers
}

/// What the connection header says of the others.
fn named(headers: &Headers) -> impl Iterator<Item = String> {
    let values = headers.get("connection").into_iter().flatten();
    let names = values.flat_map(|value| value.split(|&byte| byte == b','));
    names.map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
}

fn without(headers: &Headers, names: &BTreeSet<String>) -> Headers {
    headers
        .iter()
        .filter(|(name, _)| !names.contains(*name))
        .map(|(name, values)| (name.clone(), values.clone()))
        .collect()
}
