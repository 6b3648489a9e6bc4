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
        self.ask(PATIENCE, Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.strange(path, &error))?;
        self.ask(PATIENCE, Method::POST, path, body.into()).await
    }

    /// For what takes its time.
    pub(crate) async fn post_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.strange(path, &error))?;
        self.ask(patience, Method::POST, path, body.into()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Failure> {
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
        let (status, body) = match tokio::time::timeout(patience, asked).await {
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
                .because(root(cause))
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

/// What the operating system said; the layers above it say where, and that is in the message.
pub(crate) fn root(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn refusal(status: StatusCode, problem: Problem) -> Failure {
    let invalid = status == StatusCode::UNPROCESSABLE_ENTITY;
    if !problem.diagnostics.is_empty() {
        let told = problem.diagnostics.into_iter().map(|diagnostic| diagnostic.text).collect();
        return Failure::told(if invalid { Exit::Invalid } else { Exit::Error }, told);
    }
    Failure::error(refused(&problem.title))
}

/// A controller's sentence says what it refused, then why, then what can be done instead: `…: why; instead`.
fn refused(title: &str) -> Diagnostic {
    let (message, rest) = title.split_once(": ").map_or((title, None), |(message, rest)| (message, Some(rest)));
    let (message, cause, help) = match rest {
        Some(rest) => match rest.split_once("; ") {
            Some((why, instead)) => (message, Some(why), Some(instead)),
            None => (message, Some(rest), None),
        },
        None => match message.split_once("; ") {
            Some((message, instead)) => (message, None, Some(instead)),
            None => (message, None, None),
        },
    };
    let help = help.unwrap_or("`bellwether rollout show --why` says how the rollout stands and what can be done now");
    let told = Diagnostic::new("BW0401", message).help(help);
    match cause {
        Some(cause) => told.because(cause),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_controller_is_told_in_its_parts() {
        let told = [
            "cannot promote rollout 3 while it is completed: all phases are done; `commit` gives up blue",
            "cannot roll back rollout 3 while it is ended by its preflight: nothing was changed",
            "there is no rollout 9; `bellwether rollout list` shows which there are",
            "the plan has no phase with an agent in it",
        ];
        insta::assert_snapshot!(told.map(|title| refused(title).to_string()).join("\n"), @r"
        error[BW0401]: cannot promote rollout 3 while it is completed
          = cause: all phases are done
          = help: `commit` gives up blue
        error[BW0401]: cannot roll back rollout 3 while it is ended by its preflight
          = cause: nothing was changed
          = help: `bellwether rollout show --why` says how the rollout stands and what can be done now
        error[BW0401]: there is no rollout 9
          = help: `bellwether rollout list` shows which there are
        error[BW0401]: the plan has no phase with an agent in it
          = help: `bellwether rollout show --why` says how the rollout stands and what can be done now
        ");
    }
}
