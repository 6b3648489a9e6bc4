//! The command line's side of the gateway's task API: one question, one answer, whatever its status.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::refusal::{self, Asked, refused};
use crate::{client::root, failure::Failure};

/// Where a gateway listens unless `serve` was told otherwise.
const DEFAULT_GATEWAY: &str = "http://127.0.0.1:7400";
const CONNECT_MAX: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(30);
/// Shorter than the gateway's, so that a question seldom meets a connection that is just being closed.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// A page of a thousand tasks without their results, or one task with its result, stays well below this.
const ANSWER_MAX: usize = 64 << 20;

/// Which gateway a command talks to.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct GatewayArgs {
    /// The gateway's address, as `serve` prints it
    #[arg(long, env = "BELLWETHER_GATEWAY", default_value = DEFAULT_GATEWAY, value_name = "URL")]
    gateway: String,
}

pub(super) struct Gateway {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Whatever came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

/// Why nothing came back, in the operating system's words.
#[derive(Debug)]
pub(super) enum Lost {
    /// Nothing was sent.
    Unreachable(String),
    /// What was sent may have been taken.
    Broken(String),
}

impl Gateway {
    pub(super) fn new(args: &GatewayArgs) -> Result<Self, Failure> {
        let base = args.gateway.trim_end_matches('/').to_owned();
        let uri: Option<Uri> = base.parse().ok();
        let is_address = |uri: &Uri| {
            uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()) && uri.path() == "/"
        };
        if !uri.is_some_and(|uri| is_address(&uri)) {
            return Err(refusal::no_address(&args.gateway));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector);
        Ok(Self { base, client })
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Asks once. `wait` is how long the gateway was asked to hold the question.
    pub(super) async fn send(&self, method: Method, path: &str, body: Bytes, wait: Duration) -> Result<Answer, Lost> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| Lost::Unreachable(root(&error)))?;
        let asked = async {
            let answer = self.client.request(request).await.map_err(|error| {
                let why = root(&error);
                if error.is_connect() { Lost::Unreachable(why) } else { Lost::Broken(why) }
            })?;
            let status = answer.status();
            let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|error| Lost::Broken(root(&*error)))?.to_bytes();
            Ok(Answer { status, retry_after: seconds.map(Duration::from_secs), body })
        };
        let limit = wait + PATIENCE;
        let late = |_elapsed| Err(Lost::Broken(format!("no answer within {} s", limit.as_secs())));
        timeout(limit, asked).await.unwrap_or_else(late)
    }

    /// Asks once; whatever is no success is told as a failure.
    pub(super) async fn ask(&self, method: Method, path: &str, asked: Asked<'_>) -> Result<Answer, Failure> {
        match self.send(method, path, Bytes::new(), Duration::ZERO).await {
            Ok(answer) if answer.status.is_success() => Ok(answer),
            Ok(answer) => Err(refused(self, asked, &answer)),
            Err(lost) => Err(refusal::lost(self, asked, &lost)),
        }
    }
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self, gateway: &Gateway) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| refusal::strange(gateway, &error.to_string()))
    }

    /// It may be different in a while: no room, or a store that cannot be written for the moment.
    pub(super) fn is_not_now(&self) -> bool {
        matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
    }
}

/// A piece of a path or of a query, with everything escaped that could mean something there.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_an_id_or_a_name_ends_the_path() {
        assert_eq!(escaped("nightly:1~a.b_c-d"), "nightly:1~a.b_c-d");
        assert_eq!(escaped("a/b?c=d&e #ü"), "a%2Fb%3Fc%3Dd%26e%20%23%C3%BC");
    }

    #[test]
    fn an_address_that_leads_nowhere_is_refused_before_anything_is_sent() {
        for address in ["localhost:7400", "https://127.0.0.1:7400", "http://", "http://127.0.0.1:7400/v1", ""] {
            assert!(Gateway::new(&GatewayArgs { gateway: address.to_owned() }).is_err(), "{address}");
        }
        assert!(Gateway::new(&GatewayArgs { gateway: "http://127.0.0.1:7400/".to_owned() }).is_ok());
    }
}
