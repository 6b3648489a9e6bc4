//! Asks an HTTP server that is not ours: the model server, or whoever holds a port. Every question has a bound.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::client::root;

const CONNECT_MAX: Duration = Duration::from_secs(3);
const ANSWER_MAX: usize = 16 << 20;

pub(crate) struct Asker {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Whatever came back, of whatever status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Bytes,
}

impl Asker {
    pub(crate) fn new(base: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Self { base: base.trim_end_matches('/').to_owned(), client }
    }

    pub(crate) async fn get(&self, path: &str, patience: Duration) -> Result<Answer, String> {
        self.ask(Method::GET, path, Bytes::new(), patience).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value, patience: Duration) -> Result<Answer, String> {
        self.ask(Method::POST, path, body.to_string().into(), patience).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes, patience: Duration) -> Result<Answer, String> {
        let whole = async {
            let answer = self.client.request(self.request(method, path, body)?).await.map_err(|e| root(&e))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|e| e.to_string())?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        timeout(patience, whole).await.unwrap_or_else(|_elapsed| Err(late(patience)))
    }

    /// The answer piece by piece; `each` is called for every piece as it arrives.
    pub(crate) async fn stream(
        &self,
        path: &str,
        body: &Value,
        patience: Duration,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), String> {
        let whole = async {
            let request = self.request(Method::POST, path, body.to_string().into())?;
            let mut answer = self.client.request(request).await.map_err(|e| root(&e))?;
            if !answer.status().is_success() {
                return Err(format!("it answered {}", answer.status()));
            }
            while let Some(frame) = answer.body_mut().frame().await {
                if let Ok(piece) = frame.map_err(|e| root(&e))?.into_data() {
                    each(&piece);
                }
            }
            Ok(())
        };
        timeout(patience, whole).await.unwrap_or_else(|_elapsed| Err(late(patience)))
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| root(&error))
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What went wrong, in the server's own words where it has any.
    pub(crate) fn complaint(&self) -> String {
        let json = self.json();
        let words = json.as_ref().and_then(|json| json["error"].as_str().or(json["title"].as_str()));
        words.map_or(format!("status {}", self.status), |words| format!("status {}: {words}", self.status))
    }
}

fn late(patience: Duration) -> String {
    format!("no answer within {} s", patience.as_secs())
}
