//! `Prefer: wait=SECONDS` (RFC 7240): how long a client says that it would wait.

use bellwether_core::time::Millis;
use hyper::{HeaderMap, header::HeaderName};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// None if it does not say so, or says it in no way that can be read: a preference is not a demand.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Millis> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';'])).map(str::trim);
    let seconds: u64 = preferences.find_map(|preference| preference.strip_prefix("wait="))?.trim().parse().ok()?;
    Some(Millis(seconds.saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn said(values: &[&'static str]) -> Option<Millis> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_static(value));
        }
        wait(&headers)
    }

    #[test]
    fn the_wait_is_found_among_other_preferences() {
        assert_eq!(said(&["wait=10"]), Some(Millis::from_secs(10)));
        assert_eq!(said(&["return=minimal", "respond-async; wait= 3, x"]), Some(Millis::from_secs(3)));
        assert_eq!(said(&["wait=99999999999999999999"]), None);
        assert_eq!(said(&["wait=18446744073709551615"]), Some(Millis(u64::MAX)));
        assert_eq!((said(&[]), said(&["wait"]), said(&["wait=soon"])), (None, None, None));
    }
}
