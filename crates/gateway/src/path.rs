//! Paths, cut where the gateway's own part of them ends.

use hyper::http::uri::PathAndQuery;

use crate::body::Request;

/// The path and query behind the first `prefix` bytes of the path, byte for byte.
pub(crate) fn rest(request: &Request, prefix: usize) -> Option<PathAndQuery> {
    behind(request.uri().path_and_query()?, prefix)
}

fn behind(all: &PathAndQuery, prefix: usize) -> Option<PathAndQuery> {
    let rest = all.as_str().get(prefix..)?;
    if rest.starts_with('/') { rest.parse().ok() } else { format!("/{rest}").parse().ok() }
}

/// What is below a path, if it is.
pub(crate) fn below(all: &PathAndQuery, path: &str) -> Option<String> {
    let rest = all.as_str().strip_prefix(path)?;
    match rest.chars().next() {
        None => Some("/".to_owned()),
        Some('/') => Some(rest.to_owned()),
        Some('?') => Some(format!("/{rest}")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_a_path_is_below_it() {
        let below = |all: &str| below(&all.parse().unwrap(), "/ollama");
        assert_eq!(below("/ollama"), Some("/".to_owned()));
        assert_eq!(below("/ollama/api/tags?x=1"), Some("/api/tags?x=1".to_owned()));
        assert_eq!(below("/ollama?x"), Some("/?x".to_owned()));
        assert_eq!(below("/ollamas"), None);
    }

    #[test]
    fn what_is_behind_a_name_is_left_as_it_is() {
        let behind = |all: &str| behind(&all.parse().unwrap(), "/m/me".len()).unwrap().to_string();
        assert_eq!(behind("/m/me"), "/");
        assert_eq!(behind("/m/me?x"), "/?x");
        assert_eq!(behind("/m/me/v1/models/a%2Fb?x=%20"), "/v1/models/a%2Fb?x=%20");
    }
}
