//! The command line's side of the control API.

use std::time::Duration;

use bellwether_control::types::Problem;
use bellwether_core::diagnostic::{Diagnostic, chain};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{Exit, Failure};

/// Where a controller listens unless it was told otherwise.
pub(crate) const DEFAULT_CONTROL: &str = "http://127.0.0.1:7401";

const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_MAX: usize = 256 << 20;

/// Which controller a command talks to.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ControlArgs {
    /// The controller's address
    #[arg(long, env = "BELLWETHER_CONTROL", default_value = DEFAULT_CONTROL, value_name = "URL")]
    pub(crate) control: String,
}

pub(crate) struct Control {
    base: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Control {
    pub(crate) fn new(base: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { base: base.trim_end_matches('/').to_owned(), client }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.strange(path, &error))?;
        self.ask(Method::POST, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.unreachable(&error))?;
        let asked = async {
            let answer = self.client.request(request).await.map_err(|error| self.unreachable(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            Ok((status, body.map_err(|error| self.strange(path, &*error))?.to_bytes()))
        };
        let (status, body) = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answered) => answered?,
            Err(elapsed) => return Err(self.strange(path, &elapsed)),
        };
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.strange(path, &error));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(refusal(status, problem)),
            Err(error) => Err(self.strange(path, &error)),
        }
    }

    fn unreachable(&self, cause: &dyn std::error::Error) -> Failure {
        Failure::error(
            Diagnostic::new("BW0304", format!("no controller answers at {}", self.base))
                .because(chain(cause))
                .help("start one with `bellwether serve --fleet FILE`, or name its address with --control or BELLWETHER_CONTROL"),
        )
    }

    fn strange(&self, path: &str, cause: &dyn std::error::Error) -> Failure {
        Failure::error(
            Diagnostic::new(
                "BW0305",
                format!("{}{path} gave an answer that this build does not understand", self.base),
            )
            .because(chain(cause))
            .help("check that the address is a Bellwether controller of the same version"),
        )
    }
}

fn refusal(status: StatusCode, problem: Problem) -> Failure {
    let invalid = status == StatusCode::UNPROCESSABLE_ENTITY;
    if !problem.diagnostics.is_empty() {
        let told = problem.diagnostics.into_iter().map(|diagnostic| diagnostic.text).collect();
        return Failure::told(if invalid { Exit::Invalid } else { Exit::Error }, told);
    }
    Failure::error(Diagnostic::new("BW0401", problem.title))
}
