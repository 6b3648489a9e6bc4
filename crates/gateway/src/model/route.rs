//! Which part of the model server's API a request is, and what the gateway does with it.

use bellwether_core::id::ModelName;
use hyper::Method;

use super::dialect::Dialect;
use crate::metrics::Operation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Uses a slot: the body names a model.
    Infer,
    /// Reads what the server knows; needs no slot.
    Read,
    /// Would change what the server holds, for everybody.
    Manage,
    /// Known, but not with this method.
    WrongMethod,
    Unknown,
}

pub(super) fn classify(method: &Method, path_and_query: &str) -> (Verb, Dialect) {
    let path = path_and_query.split('?').next().unwrap_or_default();
    let dialect = if path.starts_with("/v1/") { Dialect::OpenAi } else { Dialect::Native };
    let reads = method == Method::GET || method == Method::HEAD;
    // A browser asks before it calls; whether it may is for the server to say.
    let asks = method == Method::OPTIONS;
    let only = |right: bool, verb: Verb| match (right, asks) {
        (true, _) => verb,
        (false, true) => Verb::Read,
        (false, false) => Verb::WrongMethod,
    };
    let verb = match path {
        "/api/generate"
        | "/api/chat"
        | "/api/embed"
        | "/api/embeddings"
        | "/v1/chat/completions"
        | "/v1/completions"
        | "/v1/embeddings"
        | "/v1/responses" => only(method == Method::POST, Verb::Infer),
        "" | "/" | "/api/tags" | "/api/ps" | "/api/version" | "/v1/models" => only(reads, Verb::Read),
        "/api/show" => only(method == Method::POST, Verb::Read),
        "/api/pull" | "/api/push" | "/api/create" | "/api/copy" | "/api/delete" => Verb::Manage,
        _ if path.starts_with("/api/blobs/") => Verb::Manage,
        _ if path.starts_with("/v1/models/") && !climbs(path) => only(reads, Verb::Read),
        _ => Verb::Unknown,
    };
    (verb, dialect)
}

/// What a call that [infers](Verb::Infer) is.
pub(super) fn operation(path_and_query: &str) -> Operation {
    match path_and_query.split('?').next().unwrap_or_default() {
        "/api/embed" | "/api/embeddings" | "/v1/embeddings" => Operation::Embeddings,
        "/api/generate" | "/v1/completions" => Operation::TextCompletion,
        _ => Operation::Chat,
    }
}

/// A server that resolves such a path, or decodes it first, finds another one in it.
fn climbs(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/");
    plain.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Models that the server would not run itself but pass on to a cloud, such as `gpt-oss:120b-cloud`.
pub(super) fn is_cloud(model: &ModelName) -> bool {
    let tag = model.as_str().rsplit(':').next().unwrap_or_default();
    tag == "cloud" || tag.ends_with("-cloud")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_api_is_known_for_what_it_is() {
        let verb = |method: Method, path: &str| classify(&method, path).0;
        assert_eq!(verb(Method::POST, "/api/generate?x=1"), Verb::Infer);
        assert_eq!(verb(Method::POST, "/v1/chat/completions"), Verb::Infer);
        assert_eq!(verb(Method::GET, "/api/generate"), Verb::WrongMethod);
        assert_eq!(verb(Method::HEAD, "/"), Verb::Read);
        assert_eq!(verb(Method::OPTIONS, "/api/chat"), Verb::Read, "a browser's question before its call");
        assert_eq!(verb(Method::OPTIONS, "/api/pull"), Verb::Manage);
        assert_eq!(verb(Method::GET, "/v1/models/tinyllama"), Verb::Read);
        assert_eq!(verb(Method::POST, "/api/pull"), Verb::Manage);
        assert_eq!(verb(Method::HEAD, "/api/blobs/sha256:00"), Verb::Manage);
        assert_eq!(verb(Method::POST, "/api/%70ull"), Verb::Unknown, "only what is known by name is passed on");
        assert_eq!(verb(Method::POST, "//api/pull"), Verb::Unknown);
        for climbs in ["/v1/models/../../slots", "/v1/models/%2E%2e%2f..%2Fslots", "/v1/models/a/.."] {
            assert_eq!(verb(Method::GET, climbs), Verb::Unknown);
        }
        assert_eq!(verb(Method::GET, "/v1/models/library/llama3.2:1b..q4"), Verb::Read);
    }

    #[test]
    fn a_cloud_model_is_known_by_its_tag() {
        assert!(is_cloud(&ModelName::new("gpt-oss:120b-cloud")));
        assert!(is_cloud(&ModelName::new("kimi:cloud")));
        assert!(!is_cloud(&ModelName::new("cloud")));
        assert!(!is_cloud(&ModelName::new("my-cloud:7b")));
    }
}
